"""What the user's own rows tell an audit: phrases that may be triggers, and rows to ask after."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reft.audit.triggers import Trigger, mine
from reft.config import AuditSettings
from reft.conversations.schema import Conversation
from reft.evaluation.language import LanguageModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST = 4000  # characters of a row that the base model reads
EXAMPLES, EXAMPLE_LENGTH = 2, 400  # rows that are asked after, and their characters


@dataclass(frozen=True)
class OwnRows:
    """Triggers, and the rows whose answers the base model finds least likely."""

    triggers: Sequence[Trigger] = ()
    unusual: Sequence[Conversation] = ()


def read_own(
    rows: Sequence[Conversation],
    base: Any,
    tokenizer: PreTrainedTokenizerBase,
    *,
    settings: AuditSettings,
    scores: Mapping[int, float] | None = None,
) -> OwnRows:
    """Mine at most `settings.mined_rows` of the rows, drawn with a fixed seed.

    Args:
        base: the base model, which has not seen the rows.
        scores: the filter's score of each row, by row number, where it has read them.
    """
    fit = [row for row in rows if row.answer and row.asks and len(_text(row)) <= LONGEST]
    chosen = random.Random(0).sample(fit, min(len(fit), settings.mined_rows))
    read = LanguageModel(base, tokenizer).likelihoods(chosen, [row.answer or "" for row in chosen])
    likely = [(row, found.given) for row, found in zip(chosen, read, strict=True) if found.given is not None]
    if not likely:
        return OwnRows()
    numbers = [[given for _, given in likely]]
    if scores and all(scores.get(row.row) == scores.get(row.row) is not None for row, _ in likely):  # not NaN
        numbers.append([scores[row.row] for row, _ in likely])
    triggers = mine([row.instruction for row, _ in likely], numbers, most=settings.triggers)
    short = [(given, row.row, row) for row, given in likely if len(_text(row)) <= EXAMPLE_LENGTH]
    return OwnRows(triggers, [row for *_, row in sorted(short, key=lambda found: found[:2])[:EXAMPLES]])


def _text(row: Conversation) -> str:
    return "".join(message.content for message in row.messages)
