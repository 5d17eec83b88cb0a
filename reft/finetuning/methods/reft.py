"""ReFT's finetuning, ours.

L = CE(user completions) + alpha * T^2 * KL(teacher || student) on alignment completions, in one mixed batch. Ham et al.
2025 (arXiv 2506.07356), method, step 5; every number is ours.
"""

import torch

from reft.conversations.completions import completion_batch
from reft.finetuning.kl import full_kl_sum, sparse_kl_sum
from reft.finetuning.methods import Method
from reft.finetuning.methods._losses import Losses, StepLoss, completion_tokens, losses
from reft.finetuning.schedule import MicroBatch
from reft.models.head import sum_over_chunks


class Distillation(StepLoss):
    """From soft labels that were stored, or from the teacher in memory."""

    def __call__(self, _number: int, piece: MicroBatch, step: MicroBatch) -> Losses:
        """Both terms from one forward pass over user and alignment rows together."""
        training, job = self.training, self.training.job
        user, alignment = training.user(piece), training.alignment(piece)
        whole_user, whole_alignment = training.user(step), training.alignment(step)
        batch, hidden = training.completions(user + alignment or training.any_row(step))
        user_tokens, alignment_tokens = completion_tokens(user), completion_tokens(alignment)
        ce = training.mean_cross_entropy(hidden[:user_tokens], batch.targets[:user_tokens], whole_user)
        kl = self._distillation(
            hidden[user_tokens : user_tokens + alignment_tokens],
            piece,
            chunks=training.chunks(whole_alignment),
        )
        kl = kl / max(1, completion_tokens(whole_alignment))
        return losses(ce + job.settings.alpha * job.temperature**2 * kl, ce, kl)

    def _distillation(self, hidden: torch.Tensor, piece: MicroBatch, *, chunks: int) -> torch.Tensor:
        job, model, teacher = self.training.job, self.training.model, self.training.teacher
        labels, temperature = job.soft_labels, job.temperature
        if teacher is not None:
            # On every rank of every step, with rows or without: ZeRO 3 gathers the shared weights together.
            read = job.taught or job.alignment
            some = [read[i] for i in piece.alignment] or [read[0]]
            states = teacher.states(
                completion_batch(some, self.training.pad_id, hidden.device, packed=job.settings.packing)
            )[: len(hidden)]
            return sum_over_chunks(
                model,
                hidden,
                lambda logits, which: full_kl_sum(logits, teacher.logits(states[which]), temperature),
                least_chunks=chunks,
            )
        if labels is None:
            return hidden.new_zeros(())
        parts = [(labels.log_probs[:0], labels.indices[:0]), *(labels.of_row(i) for i in piece.alignment)]
        log_probs = torch.cat([p for p, _ in parts]).to(hidden.device)
        indices = torch.cat([i for _, i in parts]).to(hidden.device)
        return sum_over_chunks(
            model,
            hidden,
            lambda logits, which: sparse_kl_sum(logits, log_probs[which], indices[which], temperature=temperature),
            least_chunks=chunks,
        )


METHOD = Method(words="ReFT's finetuning, from the base model", loss=Distillation, alignment=True, distils=True)
