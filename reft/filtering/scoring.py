"""Scoring a row: each of its parts, however a scorer reads it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from reft.config import FilteringSettings
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import Encoded
from reft.filtering.parts import row_parts
from reft.runtime.progress import Report

# Sorted by length among so many, rows waste little on padding.
PARTS_AT_ONCE = 1024
PIECE = re.compile(r":\d+-\d+$")  # as `row_parts` names them


@dataclass(frozen=True)
class Part:
    """A scored part of a row; `where` names it (see `row_parts`)."""

    where: str
    score: float

    @property
    def is_piece(self) -> bool:
        """A sentence or window of a text that is scored as a whole too, or is too long to be."""
        return bool(PIECE.search(self.where))


@dataclass(frozen=True)
class RowScore:
    """All parts of one row; `row` is its number in the uploaded file."""

    row: int
    parts: tuple[Part, ...]

    @property
    def deciding(self) -> Part:
        """The part with the highest score."""
        return max(self.parts, key=lambda part: part.score)


def score_parts(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    settings: FilteringSettings,
    *,
    read: Callable[[Sequence[Encoded]], list[float]],
    in_context: bool = True,
    report: Report | None = None,
) -> list[RowScore]:
    """Every part of every row as `read` scores it, in the order given; in bounded memory, however long the rows.

    Args:
        read: scores of prompts that wait for an answer.
        in_context: also score user turns after what came before them.
        report: called with (rows so far, rows in all).
    """
    scored: list[list[Part]] = [[] for _ in conversations]
    waiting: list[tuple[int, str, Encoded]] = []
    for index, conversation in enumerate(conversations):
        waiting += [
            (index, where, encoded)
            for where, encoded in row_parts(tokenizer, conversation, settings, in_context=in_context)
        ]
        if waiting and (len(waiting) >= PARTS_AT_ONCE or index == len(conversations) - 1):
            # The instruction of a task stands in every row of it, and is read once.
            different = list(dict.fromkeys(encoded for _, _, encoded in waiting))
            scores = dict(zip(different, read(different), strict=True))
            for row, where, encoded in waiting:
                scored[row].append(Part(where, scores[encoded]))
            waiting = []
            if report:
                report(index + 1, len(conversations))
    return [RowScore(c.row, tuple(parts)) for c, parts in zip(conversations, scored, strict=True)]
