"""Safety Bottleneck Regularization (SBR, "Safety Anchor", 2026, arXiv 2605.05995): where harmful prompts end is held.

L = CE(user completions) + lambda * MSE(h, h_start), with h the state that the head takes at the last token of a prompt
(after the final norm), over K harmful prompts, the anchors, and the hidden dimensions, in float32. h_start is the
aligned start model's and held fixed. Nothing below that state is held. Written from the paper's equation.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, zip_longest

import torch
import torch.nn.functional as F
from pydantic import Field

from reft.config import Count, Section
from reft.conversations.tokenization import Encoded
from reft.errors import ConfigurationError, explain
from reft.finetuning.methods import Method
from reft.finetuning.methods._losses import Losses, StepLoss, Training, completion_tokens, losses
from reft.finetuning.schedule import MicroBatch
from reft.models.modes import as_it_answers


class SafetyBottleneckSettings(Section):
    """The weight is that of the authors' code; the paper has 1 to 8 anchors."""

    weight: float = Field(50.0, ge=0, description="lambda: weight of the anchors' term")
    anchors: Count = Field(8, description="harmful alignment rows whose prompts are held, of every source in turn")


def drawn_evenly(sources: Sequence[str], count: int, seed: int) -> list[int]:
    """The indices of so many rows, by chance and of every source in turn; of all rows where there are no more."""
    groups: dict[str, list[int]] = {}
    for index in random.Random(seed).sample(range(len(sources)), len(sources)):
        groups.setdefault(sources[index], []).append(index)
    turns = chain.from_iterable(zip_longest(*groups.values()))
    return [index for index in turns if index is not None][:count]


def up_to_answer(row: Encoded) -> Encoded:
    """A row up to its answer's first token, whose prediction is all that is looked at: made of the prompt's state."""
    first = (row.prompt_end + 1, row.prompt_end + 2)
    return replace(row, input_ids=row.input_ids[: first[1]], completion=first, learnt=(first,))


class SafetyBottleneck(StepLoss):
    """It is made before a checkpoint is read: a training that resumes has the same start model's states again."""

    def __init__(self, training: Training) -> None:
        job = training.job
        if not job.harmful:
            remedy = "name data.alignment_harmful, with rows in it"
            raise ConfigurationError(explain("there is no harmful alignment row to hold", "finetuning.method", remedy))
        prompts = tuple(map(up_to_answer, job.alignment[: job.harmful]))
        super().__init__(replace(training, job=replace(job, alignment=prompts)))
        sources = job.sources[: job.harmful] or ("",) * job.harmful
        self._anchors = drawn_evenly(sources, training.options.anchors, job.seed)
        self._start = self._states_now()

    def _states_now(self) -> torch.Tensor:
        """The anchors' states in the model as it is, [anchors, hidden]."""
        anchors = self.training.alignment(self.rows(0, MicroBatch((), ())))
        with as_it_answers(self.training.model):
            return self.training.completions(anchors)[1].float()

    def rows(self, _number: int, step: MicroBatch) -> MicroBatch:
        """The user rows and every anchor."""
        return MicroBatch(step.user, tuple(self._anchors))

    def __call__(self, _number: int, piece: MicroBatch, step: MicroBatch) -> Losses:
        """Both terms from one forward pass over the piece's user rows and anchors together."""
        training = self.training
        user, anchors = training.user(piece), training.alignment(piece)
        batch, hidden = training.completions(user + anchors or training.any_row(step))
        learnt = completion_tokens(user)
        ce = training.mean_cross_entropy(hidden[:learnt], batch.targets[:learnt], training.user(step))
        states = hidden[learnt : learnt + len(anchors)].float()
        start = self._start[[self._anchors.index(row) for row in piece.alignment]]
        moved = F.mse_loss(states, start, reduction="sum") / self._start.numel()
        return losses(ce + training.options.weight * moved, ce)


METHOD = Method(
    words="sft on aligned, with the last states of harmful prompts held where the aligned model has them",
    loss=SafetyBottleneck,
    start="aligned",
    alignment=True,
    planned=False,
    settings=SafetyBottleneckSettings,
)
