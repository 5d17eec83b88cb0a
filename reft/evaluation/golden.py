"""Golden answers: what the base model and the finetuned one say to the same prompts of a customer's, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reft.conversations.schema import Conversation, written
from reft.conversations.tokenization import encode_prompts, encode_text
from reft.evaluation.generation import generate
from reft.evaluation.language import LanguageModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Answered:
    """One model's part.

    Attributes:
        answers: greedy ones, in the order of the rows.
        losses: of each row's own answer, the mean negative log-likelihood of its tokens in nats; None without one.
        tokens: of all prompts and answers.
    """

    answers: list[str]
    losses: list[float | None]
    tokens: int


def answered(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Conversation], *, max_new_tokens: int
) -> Answered:
    """What a model says to these rows' prompts, and how well it knows their own answers."""
    answers = generate(model, tokenizer, rows, max_new_tokens=max_new_tokens)
    known = LanguageModel(model, tokenizer).likelihoods(rows, [row.answer or "" for row in rows])
    return Answered(
        answers=answers,
        losses=[_loss(one.given) if row.answer else None for row, one in zip(rows, known, strict=True)],
        tokens=sum(map(len, encode_prompts(tokenizer, rows))) + sum(len(encode_text(tokenizer, a)) for a in answers),
    )


def _loss(likely: float | None) -> float | None:
    return -likely if likely is not None and math.isfinite(likely) else None


def side_by_side(rows: Sequence[Conversation], before: Answered, after: Answered) -> list[dict[str, Any]]:
    """A line for each row, for JSON: its number in the file, its prompt and answer, and both models' answers."""
    parts = zip(rows, before.answers, after.answers, before.losses, after.losses, strict=True)
    return [
        {
            "row": row.row, "messages": written(row.prompt),
            "expected": row.answer, "before": old, "after": new, "loss_before": old_loss, "loss_after": new_loss,
        }
        for row, old, new, old_loss, new_loss in parts
    ]  # fmt: skip
