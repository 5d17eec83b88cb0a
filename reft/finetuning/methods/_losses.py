"""What the methods' losses are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from reft.conversations.completions import CompletionBatch, completion_batch
from reft.conversations.tokenization import Encoded
from reft.finetuning.job import FinetuneJob
from reft.finetuning.online_teacher import OnlineTeacher
from reft.finetuning.schedule import MicroBatch
from reft.models.head import chunks_of, cross_entropy_sum, hidden_states
from reft.models.logits import logits_of

Losses = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a method's loss may look at.

    Attributes:
        model: the student, wrapped by PEFT where it is an adapter.
        job: user rows, alignment rows and their soft labels.
        teacher: in memory, for online distillation.
        options: the method's own settings.
    """

    model: Any
    job: FinetuneJob
    pad_id: int
    teacher: OnlineTeacher | None = None
    options: Any = None

    def user(self, step: MicroBatch) -> list[Encoded]:
        """The user rows of a step or of a part of it."""
        return [self.job.user[i] for i in step.user]

    def alignment(self, step: MicroBatch) -> list[Encoded]:
        """The alignment rows of a step or of a part of it."""
        return [self.job.alignment[i] for i in step.alignment]

    def any_row(self, step: MicroBatch) -> list[Encoded]:
        """One row: a piece without rows still takes part in the collective work, with a weight of nothing."""
        return (self.user(step) or self.alignment(step))[:1]

    def completions(self, rows: Sequence[Encoded]) -> tuple[CompletionBatch, torch.Tensor]:
        """The batch of these rows, and the hidden states that predict its completion tokens, [tokens, hidden]."""
        device = next(self.model.parameters()).device
        batch = completion_batch(rows, self.pad_id, device, packed=self.job.settings.packing)
        hidden = hidden_states(self.model, batch.input_ids, batch.attention_mask, position_ids=batch.position_ids)
        return batch, batch.pick(hidden)

    def cross_entropy(self, rows: list[Encoded], whole: list[Encoded], step: MicroBatch) -> torch.Tensor:
        """The part that these rows have in the mean over the step's completion tokens, those of `whole`."""
        batch, hidden = self.completions(rows or self.any_row(step))
        learnt = slice(completion_tokens(rows))  # nothing of a row that only stands in
        return self.mean_cross_entropy(hidden[learnt], batch.targets[learnt], whole)

    def mean_cross_entropy(self, hidden: torch.Tensor, targets: torch.Tensor, whole: list[Encoded]) -> torch.Tensor:
        """The part that these tokens, [tokens, hidden] and [tokens], have in the mean over those of `whole`."""
        ce = cross_entropy_sum(self.model, hidden, targets, least_chunks=self.chunks(whole))
        return ce / max(1, completion_tokens(whole))

    def chunks(self, whole: list[Encoded]) -> int:
        """How many chunks every piece of a step makes of these rows, as many as the piece with the most tokens.

        ZeRO 3 gathers the head's weights anew for each: a rank that called it less often would wait for others that
        wait for it.
        """
        settings = self.job.settings
        pieces = settings.processes * settings.accumulation
        return max(1, *(chunks_of(completion_tokens(whole[piece::pieces])) for piece in range(pieces)))


class StepLoss:
    """A method's loss during one training."""

    def __init__(self, training: Training) -> None:
        self.training = training

    def rows(self, _number: int, step: MicroBatch, /) -> MicroBatch:
        """The rows of the step of that number (from 0) that are taken; all of them, but for methods that alternate."""
        return step

    def tokens(self, step: MicroBatch, /) -> int:
        """How many tokens go through a model in a step of these rows, over all processes."""
        return sum(map(len, [*self.training.user(step), *self.training.alignment(step)]))

    def state(self) -> dict[str, torch.Tensor]:
        """What a training that resumes cannot make again, the same on every rank."""
        return {}

    def restore(self, state: dict[str, torch.Tensor], /) -> None:
        """Go on with what `state` gave."""

    def __call__(self, number: int, piece: MicroBatch, step: MicroBatch, /) -> Losses:
        """The piece's part of the step's mean losses: `loss`, and for the log `ce` and `kl`."""
        raise NotImplementedError


def losses(loss: torch.Tensor, ce: torch.Tensor | None = None, kl: torch.Tensor | None = None) -> Losses:
    """As a training logs them; without `ce`, that of the user rows, the loss itself stands for it."""
    logged = (loss if ce is None else ce).detach(), loss.new_zeros(()) if kl is None else kl.detach()
    return {"loss": loss, "ce": logged[0], "kl": logged[1]}


def completion_tokens(rows: Sequence[Encoded]) -> int:
    """How many tokens of these rows carry a loss."""
    return sum(row.learnt_tokens for row in rows)


def token_log_probs(model: nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """log p of each target, [tokens], given hidden states [tokens, hidden]."""
    return -F.cross_entropy(logits_of(model, hidden), targets, reduction="none")
