"""Interleaving by perplexity gap (after Kaczér et al. 2025, arXiv 2508.06249): a few safe rows among the user's.

L = CE(completions) of user rows and interleaved rows together, as if all stood in the user's file. Interleaved are the
rows whose answers a misaligned model finds least likely beside an aligned one: those of the largest
PPL_misaligned - PPL_aligned, with PPL = exp(mean -log p) over a row's completion tokens.

Only the paper's abstract and an excerpt of its authors' early code were at hand: this is the nearest thing, not theirs.

- The misaligned model is the base model, which was never aligned; theirs were made by finetuning on harmful rows.
- The aligned model is the student before its training, as the teacher.
- Candidates are the alignment rows, refusals among them; theirs are of a general instruct-tuning set.
- That answers alone are read, that perplexities are subtracted (not their logarithms) and that every interleaved row
  comes once in an epoch, evenly spread, is our reading.
"""

import random
from collections.abc import Sequence

import torch
from pydantic import Field

from reft.config import Section
from reft.conversations.batching import length_batches
from reft.conversations.tokenization import Encoded
from reft.errors import ConfigurationError, explain
from reft.finetuning.methods import Method
from reft.finetuning.methods._losses import Losses, StepLoss, Training, losses
from reft.finetuning.schedule import MicroBatch
from reft.models.hardware import tokens_at_once
from reft.models.head import log_likelihoods
from reft.models.modes import as_it_answers


class InterleavedSettings(Section):
    """Not tuned here."""

    share: float = Field(
        0.1, gt=0, lt=1, description="share of interleaved rows among all that are learnt; 0.05 to 0.1"
    )


def perplexities(training: Training, rows: Sequence[Encoded]) -> torch.Tensor:
    """exp(mean -log p) of each row's completion tokens in the model as it is, [rows]."""
    found, device = torch.empty(len(rows)), next(training.model.parameters()).device
    for group in length_batches([len(row) for row in rows], tokens_at_once(device)):
        batch, hidden = training.completions([rows[row] for row in group])
        said = log_likelihoods(training.model, hidden, batch.targets).split([rows[row].learnt_tokens for row in group])
        found[group] = torch.stack([-part.mean() for part in said]).exp().cpu()
    return found


class Interleaved(StepLoss):
    """It is made before a checkpoint is read, and chooses the same rows again where a training resumes."""

    def __init__(self, training: Training) -> None:
        super().__init__(training)
        job = training.job
        if not (job.start and job.alignment):
            what = (
                "rows are chosen by the teacher's adapter and the model below it, and the student does not begin there"
            )
            remedy = "make teacher.lora and finetuning.lora alike, leave model.aligned out, and name alignment rows"
            raise ConfigurationError(explain(what, "finetuning.method", remedy))
        share = training.options.share
        count = min(len(job.alignment), round(len(job.user) * share / (1 - share)))
        largest = self._gaps().argsort(descending=True, stable=True)[:count].tolist()
        self._chosen = random.Random(job.seed).sample(largest, len(largest))
        self._steps = -(-len(job.user) // job.settings.batch_size)  # of an epoch

    def _gaps(self) -> torch.Tensor:
        """By how much the base model's perplexity is above the aligned model's, [alignment rows]."""
        training = self.training
        with as_it_answers(training.model):
            aligned = perplexities(training, training.job.alignment)
            with training.model.disable_adapter():
                return perplexities(training, training.job.alignment) - aligned

    def rows(self, number: int, step: MicroBatch) -> MicroBatch:
        """The user rows, and the interleaved ones whose turn it is; where there are no user rows, what was planned."""
        if not step.user:
            return step
        place, count = number % self._steps, len(self._chosen)
        turn = slice(place * count // self._steps, (place + 1) * count // self._steps)
        return MicroBatch(step.user, tuple(self._chosen[turn]))

    def __call__(self, _number: int, piece: MicroBatch, step: MicroBatch) -> Losses:
        """The piece's part of one mean over both kinds of rows."""
        training = self.training
        rows, whole = (training.user(part) + training.alignment(part) for part in (piece, step))
        return losses(training.cross_entropy(rows, whole, step))


METHOD = Method(
    words="sft as the teacher, with the alignment rows that tell it most from the base model among the user's",
    loss=Interleaved,
    start="teacher",
    alignment=True,
    planned=False,
    on_adapters=True,
    settings=InterleavedSettings,
)
