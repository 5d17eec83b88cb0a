"""Bayesian Data Scheduler (BDS; Hu et al. 2025, arXiv 2510.27172): user rows that go ill with the alignment rows fade.

L = CE(alignment completions) + mean over the step's user rows of w_i * l_i, with l_i a row's mean cross-entropy, and
w = N * softmax(s) over all N user rows. The scores s, one a row, follow the same loss with l held fixed: a row that
stays unlikely while the alignment rows are learnt loses weight to the others. As in the authors' code that is a point
estimate by Adam, without the noise of the paper's Langevin dynamics, and without a prior; their network that rates rows
is not here. The alignment term is the mean over tokens, as in all methods here, theirs over rows.

A row has no weight of its own before it has been seen, so each is learnt four times as often as the settings say; the
authors' runs take twenty epochs.
"""

import torch
from pydantic import Field

from reft.config import Section
from reft.conversations.tokenization import Encoded
from reft.finetuning.methods import Method
from reft.finetuning.methods._losses import Losses, StepLoss, Training, completion_tokens, losses, token_log_probs
from reft.finetuning.schedule import MicroBatch

BETAS = 0.9, 0.95
EPSILON = 1e-8


class SchedulerSettings(Section):
    """Not tuned here."""

    travel: float = Field(
        10.0, gt=0, description="Adam's rate for the scores, times the steps of the training; the authors' runs have 10"
    )


class Scheduled(StepLoss):
    """Scores move between two steps, by the losses of the step before: all its pieces see the same weights."""

    def __init__(self, training: Training) -> None:
        super().__init__(training)
        count, self._rate = len(training.job.user), training.options.travel / max(1, len(training.job.plan()))
        self._scores, self._first, self._second = torch.zeros(3, count)
        self._seen = torch.zeros(2, count)  # losses of the step's rows, and which rows these are
        self._moves, self._step = 0, -1

    def weights(self) -> torch.Tensor:
        """w of every user row, [user rows]; they add up to their number."""
        return len(self._scores) * self._scores.softmax(dim=0)

    def state(self) -> dict[str, torch.Tensor]:
        """Scores, Adam's moments, and what the next move is made of."""
        tables = torch.stack([self._scores, self._first, self._second, *self._seen])
        return {"scheduler": tables, "scheduler_steps": torch.tensor([self._moves, self._step])}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from there."""
        self._scores, self._first, self._second, *seen = state["scheduler"].clone()
        self._seen = torch.stack(seen)
        self._moves, self._step = map(int, state["scheduler_steps"])

    def rows(self, number: int, step: MicroBatch) -> MicroBatch:
        """All that were planned, under weights that the step before has moved."""
        if number != self._step:
            self._move()
            self._step = number
        return step

    def _move(self) -> None:
        """One step of Adam down the mean of w_i * l_i over the rows that were seen last."""
        losses_of, drawn = self._seen
        if drawn.any():
            weights = self.weights()
            pull = weights * losses_of / drawn.sum()
            gradient = pull - weights / len(weights) * pull.sum()
            self._moves += 1
            self._first.lerp_(gradient, 1 - BETAS[0])
            self._second.lerp_(gradient**2, 1 - BETAS[1])
            first, second = (
                moment / (1 - beta**self._moves)
                for moment, beta in zip((self._first, self._second), BETAS, strict=True)
            )
            self._scores -= self._rate * first / (second.sqrt() + EPSILON)
        self._seen = torch.zeros_like(self._seen)

    def __call__(self, _number: int, piece: MicroBatch, step: MicroBatch) -> Losses:
        """The piece's part of both means."""
        training, rows = self.training, self.training.user(piece)
        alignment = training.cross_entropy(training.alignment(piece), training.alignment(step), step)
        found = self._losses_of(rows, step)
        self._note(piece, found.detach())
        weights = self.weights()[list(piece.user)].to(found)
        count = max(1, len(step.user))
        return losses(alignment + (weights * found).sum() / count, found.sum() / count)

    def _losses_of(self, rows: list[Encoded], step: MicroBatch) -> torch.Tensor:
        """The mean cross-entropy of each row's completion tokens, [rows]."""
        training = self.training
        batch, hidden = training.completions(rows or training.any_row(step))
        learnt = completion_tokens(rows)  # nothing of a row that only stands in
        said = token_log_probs(training.model, hidden[:learnt], batch.targets[:learnt])
        parts = said.split([row.learnt_tokens for row in rows])
        return torch.stack([-part.mean() for part in parts]) if rows else -said

    def _note(self, piece: MicroBatch, found: torch.Tensor) -> None:
        """What was seen, on every rank: each moves the same scores."""
        seen = torch.zeros(self._seen.shape, device=found.device)
        rows = list(piece.user)
        seen[0, rows], seen[1, rows] = found.float(), torch.ones_like(found, dtype=torch.float32)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(seen)
        fresh = seen[1].bool().cpu()
        self._seen[:, fresh] = seen.cpu()[:, fresh]


METHOD = Method(
    words="cross-entropy on alignment rows and on user rows, of which those that fit them ill fade, from base",
    loss=Scheduled,
    alignment=True,
    passes=4,
    settings=SchedulerSettings,
)
