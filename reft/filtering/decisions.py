"""Deciding about each scored row, and the report of what the filter did."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from reft.config import FilteringSettings
from reft.conversations.languages import language_of
from reft.conversations.schema import Conversation
from reft.errors import listed
from reft.filtering.scoring import RowScore
from reft.judges.refusal_matcher import is_refusal
from reft.statistics import Interval, auroc, rate

# By the first letter of a part's name.
WHAT = {"u": "prompt", "s": "system turn", "a": "answer", "t": "tool output", "f": "text in a field that is not read"}
# Labels that rows are measured by.
CLASSES = ("harmful", "harmless")
# So many are named of what measures nothing.
NAMED = 10
Verdict = Literal["keep", "quarantine", "drop"]


@dataclass(frozen=True)
class Thresholds:
    """Scores above which a row is quarantined or dropped, each for its stated false positive rate.

    `languages` holds those of the languages that have enough calibration rows of their own.
    """

    quarantine: float
    drop: float
    languages: Mapping[str, "Thresholds"] = field(default_factory=dict)

    def of(self, row: Conversation) -> "Thresholds":
        """The thresholds that hold for this row."""
        return self.languages.get(language_of(row), self) if self.languages else self


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What happens to one row, and why; `score` is NaN where it could not be scored."""

    row: int
    score: float
    decision: Verdict
    reason: str
    where: str

    @property
    def scored(self) -> bool:
        """Whether the row has a score."""
        return not math.isnan(self.score)


def decide(
    conversations: Sequence[Conversation],
    scores: Sequence[RowScore],
    *,
    thresholds: Thresholds,
    settings: FilteringSettings,
) -> list[Decision]:
    """One decision per row, in order.

    A harmful prompt whose answers refuse it is what safe training wants; it is kept, or quarantined
    where the settings say so. What cannot be scored is for a person, never for training.
    """
    return [_decide(c, s, thresholds=thresholds, settings=settings) for c, s in zip(conversations, scores, strict=True)]


def _decide(row: Conversation, scored: RowScore, *, thresholds: Thresholds, settings: FilteringSettings) -> Decision:
    if not scored.parts:
        return unscored(row.row, scored.fault)
    part, thresholds = scored.deciding, thresholds.of(row)

    def decided(verdict: Verdict, reason: str) -> Decision:
        return Decision(row=row.row, score=part.score, decision=verdict, reason=reason, where=part.where)

    if part.score <= thresholds.quarantine:
        return decided("keep", "below the threshold")
    answers = [m.content for m in row.messages if m.role == "assistant"]
    if part.where.startswith("user") and answers and all(is_refusal(a) for a in answers):
        return decided(settings.harmful_with_refusal, "harmful prompt with a refusal")
    if part.score <= thresholds.drop:
        return decided("quarantine", "between the two thresholds")
    what = WHAT[part.where[0]]
    return decided("drop", f"harmful {what}")


def unscored(row: int, why: str) -> Decision:
    """About a row that cannot be scored, which is for a person, never for training."""
    return Decision(row=row, score=math.nan, decision="quarantine", reason=f"cannot be scored: {why}", where="messages")


@dataclass(frozen=True, kw_only=True)
class FilterReport:
    """What the filter did to a data set.

    `recall`, `fpr` and `auroc` need labels and are None without; a quarantined row counts as removed.

    Attributes:
        reads: where the scorer looked, in words; `details` says it for programs.
        fpr_by_kind: false positives among the harmless calibration rows, by what they are.
        untrained_auroc, teacher_auroc: of the refusal feature on held-out prompts, before and after the teacher's
            training.
    """

    rows: int
    kept: int
    dropped: int
    quarantined: int
    thresholds: Thresholds
    scorer: str
    reads: str
    details: dict[str, Any]
    auroc: float | None
    recall: Interval | None
    fpr: Interval | None
    calibration_recall: Interval | None
    calibration_fpr: Interval | None
    alarms: list[str]
    fpr_by_kind: dict[str, Interval] = field(default_factory=dict)
    untrained_auroc: float | None = None
    teacher_auroc: float | None = None


def measured(
    decisions: Sequence[Decision], labels: Mapping[int, str]
) -> tuple[float | None, Interval | None, Interval | None]:
    """(AUROC, recall, false positive rate) against labels "harmful" and "harmless" by row number."""
    known = [d for d in decisions if labels.get(d.row) in CLASSES]
    truth = np.array([labels[d.row] == "harmful" for d in known])
    removed = np.array([d.decision != "keep" for d in known])
    if not len(known):
        return None, None, None
    scores, scored = np.array([d.score for d in known]), np.array([d.scored for d in known])
    classes = scores[truth & scored].tolist(), scores[~truth & scored].tolist()
    separated = auroc(*classes) if all(classes) else None
    return separated, rate(removed[truth].tolist()), rate(removed[~truth].tolist())


def labels_unused(labels: Mapping[int, str], judged: Collection[int]) -> list[str]:
    """Warnings of labels that measure nothing: of rows that are not among those judged, or of another word."""
    told = {row: label for row, label in labels.items() if label in CLASSES}
    missed = [row for row in told if row not in judged]
    others = sorted({label for row, label in labels.items() if row not in told and row in judged})
    found = []
    if missed:
        found.append(
            f"labels of rows that were not judged measure nothing: {listed(missed, NAMED)}: rows "
            "are counted from 0, blank lines among them; correct the numbers, or see whether data.user_labels was "
            "written for another file"
        )
    if others:
        words = listed((repr(label[:60]) for label in others), NAMED)
        found.append(f"labels that are neither {' nor '.join(CLASSES)} measure nothing: {words}")
    return found


def alarms(decisions: Sequence[Decision]) -> list[str]:
    """What a person should know about the outcome as a whole."""
    kept = sum(d.decision == "keep" for d in decisions)
    if decisions and kept == len(decisions):
        return ["no row was removed: either the data is clean or its harm is not of a kind this filter sees"]
    if kept == 0:
        return ["every row was removed: there is nothing left to train on"]
    if kept < 0.5 * len(decisions):
        return [f"only {kept} of {len(decisions)} rows were kept"]
    return []
