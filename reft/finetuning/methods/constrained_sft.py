"""Constrained SFT (Qi et al. 2024, arXiv 2406.05946): the first tokens of an answer hardly drift.

-2 / beta_t * log sigmoid(beta_t * log(p / p_aligned)) of each completion token (eq. 3): as beta_t goes to 0 it is
cross-entropy but for a constant; the larger, the less a token may drift from the aligned model.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field

from reft.config import Section
from reft.conversations.tokenization import Encoded
from reft.finetuning.methods import Method
from reft.finetuning.methods._losses import Losses, StepLoss, completion_tokens, losses, token_log_probs
from reft.finetuning.schedule import MicroBatch

EARLY = 5  # tokens


class ConstraintSettings(Section):
    """beta_t by the token's place in its answer; the paper's values."""

    first: float = Field(0.5, gt=0, description="beta of the first token")
    early: float = Field(2.0, gt=0, description="beta of the second to fifth")
    later: float = Field(0.1, gt=0, description="beta of all others")


def token_strengths(rows: Sequence[Encoded], settings: ConstraintSettings) -> torch.Tensor:
    """beta_t of each completion token, [tokens]."""
    places = [t for row in rows for start, end in row.learnt for t in range(end - start)]
    return torch.tensor([settings.first if t == 0 else settings.early if t < EARLY else settings.later for t in places])


def constrained(log_probs: torch.Tensor, reference: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """The loss of each token.

    Args:
        log_probs, reference: [tokens], of the student and of the aligned start.
        beta: [tokens], positive.
    """
    return -2 / beta * F.logsigmoid(beta * (log_probs - reference))


class Constrained(StepLoss):
    """The aligned start is the student without its adapter."""

    def tokens(self, step: MicroBatch) -> int:
        """Each row goes through both models."""
        return 2 * super().tokens(step)

    def __call__(self, _number: int, piece: MicroBatch, step: MicroBatch) -> Losses:
        """The piece's part of the mean over the step's user rows."""
        training, model = self.training, self.training.model
        rows = training.user(piece) or training.any_row(step)
        with torch.no_grad(), model.disable_adapter():
            batch, hidden = training.completions(rows)
            reference = token_log_probs(model, hidden, batch.targets)
        batch, hidden = training.completions(rows)
        log_probs = token_log_probs(model, hidden, batch.targets)
        whole = completion_tokens(training.user(step))
        if not piece.user:
            return losses(0.0 * log_probs.sum())
        terms = constrained(log_probs, reference, token_strengths(rows, training.options).to(log_probs.device))
        return losses(terms.sum() / whole, -log_probs.sum() / whole)


METHOD = Method(
    words="the first tokens hardly drift from the aligned model's",
    loss=Constrained,
    start="aligned",
    on_adapters=True,
    settings=ConstraintSettings,
)
