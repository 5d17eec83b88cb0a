"""Rows judged by a filter; one that says what an earlier row said is not read by the model again."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

from reft.conversations.schema import Conversation
from reft.filtering.decisions import Decision, decide
from reft.filtering.filter import Filter
from reft.filtering.scoring import RowScore

# So many different rows are remembered, the latest: some hundred bytes each.
REMEMBERED = 100_000


class Judging:
    """A filter that remembers the scores of the rows that it has seen.

    Attributes:
        read: how many rows the model has read.
    """

    def __init__(self, chosen: Filter, most: int = REMEMBERED) -> None:
        self._filter, self._most = chosen, most
        self._known: dict[bytes, RowScore] = {}
        self.read = 0

    def judge(self, rows: Sequence[Conversation]) -> tuple[list[RowScore], list[Decision]]:
        """As `Filter.judge`: the scores of the rows' parts, and a decision about every row, in the order given."""
        keys = [_said(row) for row in rows]
        new = {key: row for key, row in reversed(list(zip(keys, rows, strict=True))) if key not in self._known}
        first = list(reversed(new.items()))
        self.read += len(first)
        scored = self._filter.scorer.score([row for _, row in first], self._filter.settings) if first else []
        found = {key: self._known[key] for key in keys if key in self._known}
        found |= {key: score for (key, _), score in zip(first, scored, strict=True)}
        scores = [replace(found[key], row=row.row) for key, row in zip(keys, rows, strict=True)]
        self._remember(found)
        thresholds = self._filter.calibration.thresholds
        return scores, decide(rows, scores, thresholds=thresholds, settings=self._filter.settings)

    def _remember(self, found: dict[bytes, RowScore]) -> None:
        for key, score in found.items():
            self._known.pop(key, None)  # those of now are the latest
            self._known[key] = score
        for key in list(self._known)[: max(0, len(self._known) - self._most)]:
            del self._known[key]


def _said(row: Conversation) -> bytes:
    """A digest of all of a row but its place and how its line was written."""
    return blake2b(repr(replace(row, row=0, original="", notes=())).encode("utf-8", "replace"), digest_size=16).digest()
