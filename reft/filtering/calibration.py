"""Thresholds from the scores of calibration rows."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from reft.config import FilteringSettings
from reft.conversations.languages import language_of
from reft.conversations.schema import Conversation
from reft.errors import DataValidationError
from reft.filtering.decisions import Thresholds
from reft.refusal_feature.calibration import conformal_threshold, recall_threshold
from reft.refusal_feature.extraction import LabelledPrompts
from reft.statistics import Interval, rate


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Scores of the calibration rows, the thresholds that they set, and what would be removed of them.

    `fpr_by_kind` holds the harmless rows' false positives by what they are ("lookalike", "legal"), where they say so.
    """

    harmless: list[float]
    harmful: list[float]
    thresholds: Thresholds
    recall: Interval | None
    fpr: Interval | None
    fpr_by_kind: dict[str, Interval]


def calibrated_on(scores: Sequence[float], prompts: LabelledPrompts, settings: FilteringSettings) -> Calibration:
    """Thresholds from the deciding scores of the harmless prompts, followed by those of the harmful ones.

    Raises:
        DataValidationError: too few rows for the stated rate or recall.
    """
    harmless, harmful = list(scores[: len(prompts.harmless)]), list(scores[len(prompts.harmless) :])
    weights = list(prompts.harmless_weights or [1.0] * len(harmless))
    thresholds = _thresholds(harmless, weights, harmful=harmful, settings=settings)
    apart = _by_language(prompts, harmless, weights=weights, harmful=harmful, settings=settings)
    if len(apart) > 1:
        thresholds = replace(thresholds, languages=apart)
    recall, fpr = (
        _removed(rows, found, thresholds) for rows, found in ((prompts.harmful, harmful), (prompts.harmless, harmless))
    )
    return Calibration(
        harmless=harmless,
        harmful=harmful,
        thresholds=thresholds,
        recall=recall,
        fpr=fpr,
        fpr_by_kind=_by_kind(prompts.harmless, harmless, thresholds),
    )


def _by_kind(rows: Sequence[Conversation], scores: Sequence[float], thresholds: Thresholds) -> dict[str, Interval]:
    scores_of: dict[str, list[tuple[Conversation, float]]] = defaultdict(list)
    for row, score in zip(rows, scores, strict=True):
        scores_of[row.kind].append((row, score))
    found = {kind: _removed(*zip(*own, strict=True), thresholds) for kind, own in sorted(scores_of.items()) if kind}
    return {kind: interval for kind, interval in found.items() if interval}


def _removed(rows: Sequence[Conversation], scores: Sequence[float], thresholds: Thresholds) -> Interval | None:
    return rate([score > thresholds.of(row).quarantine for row, score in zip(rows, scores, strict=True)])


def _by_language(
    prompts: LabelledPrompts,
    harmless: Sequence[float],
    *,
    weights: Sequence[float],
    harmful: Sequence[float],
    settings: FilteringSettings,
) -> dict[str, Thresholds]:
    """The thresholds of every language that has rows enough; for the others those of all rows hold."""
    by_language: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(prompts.harmless):
        by_language[language_of(row)].append(index)
    apart = {}
    for language, which in by_language.items():
        if language:
            with suppress(DataValidationError):
                own = [harmless[i] for i in which], [weights[i] for i in which]
                apart[language] = _thresholds(*own, harmful=harmful, settings=settings)
    return apart


def _thresholds(
    harmless: Sequence[float], weights: Sequence[float], *, harmful: Sequence[float], settings: FilteringSettings
) -> Thresholds:
    drop = conformal_threshold(harmless, settings.fpr, weights)
    quarantine = conformal_threshold(harmless, max(settings.fpr, settings.quarantine_fpr), weights)
    if settings.recall is not None:
        quarantine = min(quarantine, recall_threshold(harmful, settings.recall))
    return Thresholds(quarantine, drop)
