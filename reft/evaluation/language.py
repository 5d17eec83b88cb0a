"""Whether an answer is language: how likely the base model finds its tokens.

Counting words alone lets word salad pass. The base model, which no finetuning has touched, reads every answer instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from reft.conversations.batching import length_batches, pad
from reft.conversations.schema import Conversation, Message
from reft.conversations.tokenization import Encoded, encode
from reft.models.hardware import tokens_at_once
from reft.models.head import hidden_states, log_likelihoods

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Mean log-probability per token, in nats, below which an answer is no language. Above it are answers of sound models
# and sentences that people write (rare refusals lie at -5.0), below it those of broken copies of the default model:
# `benchmarks/coherence.py` measures both.
LEAST_LIKELY = -5.25
# A label of so few tokens answers a question of another kind: unlikely, and language all the same.
SHORT = 4
# From so many tokens on, an answer of which each token comes four times is one thing over and over, which any language
# model finds likely.
LOOP = 8


@dataclass(frozen=True)
class Likelihood:
    """How likely an answer's tokens are.

    Attributes:
        tokens: of the answer, as the base model's tokenizer has them.
        given: their mean log-probability after the question, in nats; None for an empty answer.
        alone: of all but the first, after one another, without the question; None for fewer than two tokens.
    """

    tokens: tuple[int, ...]
    given: float | None
    alone: float | None

    @property
    def is_language(self) -> bool:
        """Likely after its question or in itself, and no loop; answers of a few tokens always are."""
        if len(self.tokens) >= LOOP and len(set(self.tokens)) <= len(self.tokens) / 4:
            return False
        means = [mean for mean in (self.given, self.alone) if mean is not None]
        return len(self.tokens) <= SHORT or max(means) >= LEAST_LIKELY


class LanguageModel:
    """A model that reads answers; the base model, since it is what every judged one was made from."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._known: dict[Encoded, float] = {}

    def __call__(self, questions: Sequence[Conversation], answers: Sequence[str]) -> list[bool]:
        """Whether each answer to the question at its place is language."""
        return [found.is_language for found in self.likelihoods(questions, answers)]

    def likelihoods(self, questions: Sequence[Conversation], answers: Sequence[str]) -> list[Likelihood]:
        """How likely each answer is, in the order given."""
        given = [self._after(question, answer) for question, answer in zip(questions, answers, strict=True)]
        alone = [_alone(row) for row in given]
        means = zip(given, self._means(given), self._means(alone), strict=True)
        return [Likelihood(_said(row), after, itself) for row, after, itself in means]

    def _after(self, question: Conversation, answer: str) -> Encoded:
        messages = (*question.prompt, Message(role="assistant", content=answer))
        return encode(self._tokenizer, Conversation(row=question.row, messages=messages))

    @torch.inference_mode()
    def _means(self, rows: Sequence[Encoded]) -> list[float | None]:
        """Mean log-probability of each row's last turn; None where it is empty.

        Several models say the same to a question, and refuse many questions with the same words: each is read once.
        """
        new = [row for row in dict.fromkeys(rows) if row not in self._known and _said(row)]
        for batch in length_batches([len(row) for row in new], tokens_at_once(self._model.device)):
            chosen = [new[i] for i in batch]
            inputs = pad(chosen, int(self._tokenizer.pad_token_id), self._model.device)
            hidden = hidden_states(self._model, **inputs)
            turns = [row.turns[-1] for row in chosen]
            # A token's likelihood is told by the state before it.
            before = torch.cat([hidden[i, start - 1 : end - 1] for i, (start, end) in enumerate(turns)])
            said = torch.cat([inputs["input_ids"][i, start:end] for i, (start, end) in enumerate(turns)])
            likely = log_likelihoods(self._model, before, said).split([end - start for start, end in turns])
            self._known.update(zip(chosen, (tokens.mean().item() for tokens in likely), strict=True))
        return [self._known.get(row) for row in rows]


def _said(row: Encoded) -> tuple[int, ...]:
    start, end = row.turns[-1]
    return row.input_ids[start:end]


def _alone(row: Encoded) -> Encoded:
    """The answer without its question; nothing comes before its first token, so that is not counted."""
    ids = _said(row)
    counted = (min(1, len(ids)), len(ids))
    return Encoded(input_ids=ids, turns=(counted,), completion=counted, instruction_end=0, prompt_end=0)
