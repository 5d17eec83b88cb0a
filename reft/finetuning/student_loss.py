"""L = CE(user completions) + alpha * T^2 * KL(teacher || student) on alignment completions, in one mixed batch."""

import torch
from torch import nn

from reft.conversations.completions import completion_batch
from reft.conversations.tokenization import Encoded
from reft.finetuning.job import FinetuneJob
from reft.finetuning.kl import full_kl_sum, sparse_kl_sum
from reft.finetuning.online_teacher import OnlineTeacher
from reft.finetuning.schedule import MicroBatch
from reft.models.head import cross_entropy_sum, hidden_states, sum_over_chunks


class StudentLoss(nn.Module):
    """The student and its loss as one module, so that ZeRO 3 sees every use of a weight."""

    def __init__(
        self, model: nn.Module, job: FinetuneJob, pad_id: int, *, teacher: OnlineTeacher | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.job = job
        self.pad_id = pad_id
        self.teacher = teacher

    def forward(self, piece: MicroBatch, step: MicroBatch) -> dict[str, torch.Tensor]:
        """This piece's part of the step's mean losses: `ce`, `kl` and their weighted sum `loss`."""
        job, device = self.job, next(self.model.parameters()).device
        user = [job.user[i] for i in piece.user]
        alignment = [job.alignment[i] for i in piece.alignment]
        # A piece without rows still takes part in the collective work, with a weight of nothing.
        rows = user + alignment or [job.user[step.user[0]] if step.user else job.alignment[step.alignment[0]]]
        batch = completion_batch(rows, self.pad_id, device, packed=job.settings.packing)
        hidden = batch.pick(
            hidden_states(self.model, batch.input_ids, batch.attention_mask, position_ids=batch.position_ids)
        )
        user_tokens, alignment_tokens = completion_tokens(user), completion_tokens(alignment)
        ce = cross_entropy_sum(self.model, hidden[:user_tokens], batch.targets[:user_tokens])
        kl = self._distillation(hidden[user_tokens : user_tokens + alignment_tokens], piece, alignment)
        ce = ce / max(1, completion_tokens([job.user[i] for i in step.user]))
        kl = kl / max(1, completion_tokens([job.alignment[i] for i in step.alignment]))
        loss = ce + job.settings.alpha * job.temperature**2 * kl + 0.0 * hidden.sum()
        return {"loss": loss, "ce": ce.detach(), "kl": kl.detach()}

    def _distillation(self, hidden: torch.Tensor, piece: MicroBatch, rows: list[Encoded]) -> torch.Tensor:
        labels, teacher, temperature = self.job.soft_labels, self.teacher, self.job.temperature
        if teacher is not None:
            # On every rank of every step, with rows or without: ZeRO 3 gathers the shared weights together.
            some = rows or [self.job.alignment[0]]
            states = teacher.states(
                completion_batch(some, self.pad_id, hidden.device, packed=self.job.settings.packing)
            )
            return sum_over_chunks(
                self.model,
                hidden,
                lambda logits, which: full_kl_sum(logits, teacher.logits(states[which]), temperature),
            )
        if labels is None or not rows:
            return hidden.new_zeros(())
        parts = [labels.of_row(i) for i in piece.alignment]
        log_probs = torch.cat([p for p, _ in parts]).to(hidden.device)
        indices = torch.cat([i for _, i in parts]).to(hidden.device)
        return sum_over_chunks(
            self.model,
            hidden,
            lambda logits, which: sparse_kl_sum(logits, log_probs[which], indices[which], temperature=temperature),
        )


def completion_tokens(rows: list[Encoded]) -> int:
    """How many tokens of these rows carry a loss."""
    return sum(row.learnt_tokens for row in rows)
