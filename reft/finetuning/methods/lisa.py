"""Lisa (Huang et al. 2024, arXiv 2405.18641): alternates between two states with a proximal term.

In one state it learns alignment rows, in the other user rows, each with rho / 2 * ||w - w_anchor||^2 (eq. 3), where the
anchor is where the other state left the weights.
"""

from collections.abc import Sequence

import torch
from pydantic import Field

from reft.config import Count, Section
from reft.finetuning.methods import Method
from reft.finetuning.methods._losses import Losses, StepLoss, Training, completion_tokens, losses
from reft.finetuning.schedule import MicroBatch


class LisaSettings(Section):
    """Not tuned here."""

    steps: Count = Field(10, description="steps between changes of the state")
    rho: float = Field(0.1, ge=0, description="what holds a state near where the other left the weights")


def proximal(parameters: Sequence[torch.Tensor], anchor: Sequence[torch.Tensor], rho: float) -> torch.Tensor:
    """rho / 2 * ||w - w_anchor||^2."""
    distances = [(p - a).pow(2).sum() for p, a in zip(parameters, anchor, strict=True)]
    return rho / 2 * torch.stack(distances).sum()


class Lisa(StepLoss):
    """Alternates; the anchor is part of a checkpoint."""

    def __init__(self, training: Training) -> None:
        super().__init__(training)
        self._trained = [p for p in training.model.parameters() if p.requires_grad]
        self._anchor: list[torch.Tensor] = []
        self._anchored = -1

    def state(self) -> dict[str, torch.Tensor]:
        """The anchor, and the step that it was taken before."""
        parts = {f"anchor_{place:05d}": part for place, part in enumerate(self._anchor)}
        return {**parts, "anchored": torch.tensor(self._anchored)}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Hold on to the same anchor."""
        self._anchored = int(state["anchored"])
        kept = [state[name] for name in sorted(state) if name != "anchored"]
        self._anchor = [part.to(p.device) for part, p in zip(kept, self._trained, strict=True)]

    def rows(self, number: int, step: MicroBatch) -> MicroBatch:
        """Of one kind: alignment rows first; a step without user rows is of the other kind in any state."""
        aligning = number // self.training.options.steps % 2 == 0 or not step.user
        return MicroBatch((), step.alignment) if aligning else MicroBatch(step.user, ())

    def __call__(self, number: int, piece: MicroBatch, step: MicroBatch) -> Losses:
        """Cross-entropy of the rows that were taken, and the piece's share of the proximal term."""
        training, options = self.training, self.training.options
        if (number % options.steps == 0 or not self._anchor) and number != self._anchored:
            self._anchor, self._anchored = [p.detach().clone() for p in self._trained], number
        rows, whole = (training.user(part) + training.alignment(part) for part in (piece, step))
        share = completion_tokens(rows) / max(1, completion_tokens(whole))
        ce = training.cross_entropy(rows, whole, step)
        return losses(ce + share * proximal(self._trained, self._anchor, options.rho), ce)


METHOD = Method(
    words="alternates between alignment and user rows with a proximal term, from the aligned model",
    loss=Lisa,
    start="aligned",
    alignment=True,
    passes=2,
    highest_zero_stage=2,
    settings=LisaSettings,
)
