"""A scorer of your own: the share of a row's words that stand in a list.

Copied to `reft/filtering/scorers/words.py` it is `filtering.scorer: words` and `reft scan --scorer words`; nothing
else lists it. Thresholds and decisions are not the scorer's: calibration rows set them, as for all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reft.config import FilteringSettings
from reft.conversations.schema import Conversation
from reft.filtering.inputs import ScorerInputs
from reft.filtering.scoring import Part, RowScore
from reft.refusal_feature.extraction import LabelledPrompts
from reft.runtime.progress import Report

WORDS = frozenset({"rob", "bomb", "poison", "hack", "steal"})


@dataclass(frozen=True, kw_only=True)
class WordScorer:
    """Counts words; `reft.filtering.scorers.Scorer` says what each attribute is for."""

    calibration: LabelledPrompts
    fingerprint: str
    name: str = "words"
    reads: str = "words of a list"
    details: dict[str, Any] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=lambda: ["a list of words knows nothing of what is asked"])

    def score(
        self, rows: Sequence[Conversation], settings: FilteringSettings, *, report: Report | None = None
    ) -> list[RowScore]:
        """In [-1, 1]: -1 without such a word, 1 where every word is one."""
        del settings  # how texts are cut; this one reads whole turns
        scores = [RowScore(row.row, tuple(_parts(row))) for row in rows]
        if report:
            report(len(rows), len(rows))
        return scores


def load(inputs: ScorerInputs) -> WordScorer:
    """What the filter calls."""
    return WordScorer(calibration=inputs.calibration, fingerprint=f"{inputs.identity}:{sorted(WORDS)}")


def _parts(row: Conversation) -> list[Part]:
    """Every turn by itself; a part is named by its role and place."""
    parts = []
    for place, turn in enumerate(row.messages):
        words = turn.content.lower().split()
        parts.append(
            Part(f"{turn.role}[{place}]", 2 * sum(w.strip("?.,!") in WORDS for w in words) / max(len(words), 1) - 1)
        )
    return parts
