"""The frozen teacher in memory while the student trains: its whole word on each token, made when it is needed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reft.conversations.completions import CompletionBatch
from reft.finetuning.frozen import TEACHER, load_frozen
from reft.models.adapters import speaking_as
from reft.models.head import hidden_states
from reft.models.loading import load_trained
from reft.models.logits import logits_of
from reft.models.modes import as_it_answers

ADAPTER = TEACHER  # what others knew it by before


@dataclass(frozen=True)
class TeacherWeights:
    """Where the frozen teacher lies, and how softly it speaks.

    Attributes:
        weights: folder of a PEFT adapter, or of a full model.
        base: the model that the adapter is for.
        temperature: T that both sides are softened by.
    """

    weights: Path
    is_adapter: bool
    base: str
    temperature: float


class OnlineTeacher:
    """A frozen teacher; no module of the student's, so that nobody trains, shards or saves it.

    Args:
        model: the teacher, or the student's own model, which then holds the teacher as a second adapter.
        shared: whether it is the student's.
    """

    def __init__(self, model: nn.Module, shared: bool) -> None:
        self._model = model
        self._shared = shared

    def states(self, batch: CompletionBatch) -> torch.Tensor:
        """The hidden states that predict the batch's completion tokens, [n, hidden]."""
        with as_it_answers(self._model):
            if self._shared:
                with speaking_as(self._model, TEACHER):
                    return batch.pick(self._hidden(batch))
            return batch.pick(self._hidden(batch))

    def _hidden(self, batch: CompletionBatch) -> torch.Tensor:
        return hidden_states(self._model, batch.input_ids, batch.attention_mask, position_ids=batch.position_ids)

    @torch.no_grad()
    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """[n, hidden] -> [n, vocabulary], at least float32."""
        return logits_of(self._model, states)


def online_teacher(
    found: TeacherWeights, student_base: str, student: Any, *, dtype: torch.dtype, trust_remote_code: bool
) -> OnlineTeacher:
    """The teacher beside the student: as a second adapter of the same frozen base where both are adapters."""
    if found.is_adapter and found.base == student_base and hasattr(student, "peft_config"):
        load_frozen(student, found.weights, TEACHER)
        return OnlineTeacher(student, shared=True)
    model = load_trained(found.base, found.weights, found.is_adapter, dtype=dtype, trust_remote_code=trust_remote_code)
    return OnlineTeacher(model.requires_grad_(False), shared=False)
