"""Scoring a row: each of its parts, however a scorer reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reft.config import FilteringSettings
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import Encoded
from reft.errors import DataValidationError, ModelError, explain
from reft.errors import parts as parts_of
from reft.filtering.parts import row_parts
from reft.runtime.progress import Report

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Sorted by length among so many, rows waste little on padding.
PARTS_AT_ONCE = 1024
NO_TEXT = "it has no text"
PIECE = re.compile(r":\d+-\d+$")  # as `row_parts` names them


def is_piece(where: str) -> bool:
    """Whether a part of this name is a sentence or window: of a text that is scored whole too, or is too long to be."""
    return bool(PIECE.search(where))


@dataclass(frozen=True)
class Part:
    """A scored part of a row; `where` names it (see `row_parts`)."""

    where: str
    score: float


@dataclass(frozen=True)
class RowScore:
    """All parts of one row; `row` is its number in the uploaded file.

    Attributes:
        fault: why there are no parts: not one text, or one that the template takes in no way; none may go unread.
    """

    row: int
    parts: tuple[Part, ...]
    fault: str = NO_TEXT

    @property
    def deciding(self) -> Part:
        """The part with the highest score.

        Raises:
            DataValidationError: the row has no part.
        """
        if not self.parts:
            remedy = "give its user turn some text that the chat template takes, or take the row out"
            raise DataValidationError(explain(f"cannot be scored: {self.fault}", f"row {self.row}", remedy))
        return max(self.parts, key=lambda part: part.score)


def score_parts(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    settings: FilteringSettings,
    *,
    read: Callable[[Sequence[Encoded]], list[float]],
    read_pieces: Callable[[Sequence[Encoded]], list[float]] | None = None,
    in_context: bool = True,
    report: Report | None = None,
) -> list[RowScore]:
    """Every part of every row as `read` scores it, in the order given; in bounded memory, however long the rows.

    Args:
        read: scores of prompts that wait for an answer.
        read_pieces: the same of sentences and windows; None: as whole texts.
        in_context: also score user turns after what came before them.
        report: called with (rows so far, rows in all).
    """
    scored: list[list[Part]] = [[] for _ in conversations]
    faults: dict[int, str] = {}
    waiting: list[tuple[int, str, Encoded]] = []
    for index, conversation in enumerate(conversations):
        try:
            found = row_parts(tokenizer, conversation, settings, in_context=in_context)
        except ModelError as error:
            found, faults[index] = [], parts_of(error)[0]
        waiting += [(index, where, encoded) for where, encoded in found]
        if waiting and (len(waiting) >= PARTS_AT_ONCE or index == len(conversations) - 1):
            for row, part in _read(waiting, read, read_pieces or read):
                scored[row].append(part)
            waiting = []
            if report:
                report(index + 1, len(conversations))
    return [
        RowScore(conversation.row, tuple(scored[index]), faults.get(index, NO_TEXT))
        for index, conversation in enumerate(conversations)
    ]


def _read(
    parts: Sequence[tuple[int, str, Encoded]],
    whole: Callable[[Sequence[Encoded]], list[float]],
    pieces: Callable[[Sequence[Encoded]], list[float]],
) -> Iterator[tuple[int, Part]]:
    """(row, scored part) in the order given. The instruction of a task stands in every row of it, and is read once."""
    readers = [pieces if is_piece(where) else whole for _, where, _ in parts]
    scores = {}
    for read in dict.fromkeys(readers):
        own = (encoded for (*_, encoded), reader in zip(parts, readers, strict=True) if reader is read)
        different = list(dict.fromkeys(own))
        scores[read] = dict(zip(different, read(different), strict=True))
    for (row, where, encoded), reader in zip(parts, readers, strict=True):
        yield row, Part(where, scores[reader][encoded])
