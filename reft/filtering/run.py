"""Step 4 as a whole: score, calibrate, decide, measure."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reft.config import FilterSettings
from reft.conversations.languages import language_of
from reft.conversations.schema import Conversation
from reft.errors import DataValidationError, explain
from reft.evaluation.statistics import Interval, rate
from reft.filtering.artifact import FilteredData
from reft.filtering.data_alarms import data_alarms
from reft.filtering.decisions import Decision, FilterReport, Thresholds, alarms, decide, measured
from reft.filtering.scoring import RowScore, score_rows
from reft.progress import Report
from reft.refusal.calibration import conformal_threshold, recall_threshold
from reft.refusal.extraction import LabelledPrompts
from reft.refusal.feature import RefusalFeature


@dataclass(frozen=True)
class Calibration:
    """Scores of the calibration rows, the thresholds that they set, and what would be removed of them."""

    harmless: list[float]
    harmful: list[float]
    thresholds: Thresholds
    recall: Interval | None
    fpr: Interval | None


def calibrate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    feature: RefusalFeature,
    prompts: LabelledPrompts,
    settings: FilterSettings,
) -> Calibration:
    """Score the calibration rows as any row is scored, and set both thresholds.

    Raises:
        DataValidationError: too few rows for the stated rate.
    """
    scored = score_rows(model, tokenizer, [*prompts.harmless, *prompts.harmful], feature, settings)
    return calibrated_on(scored, prompts, settings)


def calibrated_on(scored: Sequence[RowScore], prompts: LabelledPrompts, settings: FilterSettings) -> Calibration:
    """Thresholds from the scores of the harmless prompts, followed by those of the harmful ones.

    Raises:
        DataValidationError: too few rows for the stated rate or recall.
    """
    scores = [row.deciding.score for row in scored]
    harmless, harmful = scores[: len(prompts.harmless)], scores[len(prompts.harmless) :]
    weights = prompts.harmless_weights or [1.0] * len(harmless)
    thresholds = _thresholds(harmless, weights, harmful, settings)
    by_language: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(prompts.harmless):
        by_language[language_of(row)].append(index)
    apart = {}
    for language, which in by_language.items():
        if language:
            # Too few rows of this language: the thresholds of all rows hold for it.
            with suppress(DataValidationError):
                own = [harmless[i] for i in which], [weights[i] for i in which]
                apart[language] = _thresholds(*own, harmful, settings)
    if len(apart) > 1:
        thresholds = replace(thresholds, languages=apart)
    recall, fpr = (
        rate([score > thresholds.of(row).quarantine for row, score in zip(rows, found, strict=True)])
        for rows, found in ((prompts.harmful, harmful), (prompts.harmless, harmless))
    )
    return Calibration(harmless, harmful, thresholds, recall, fpr)


def _thresholds(
    harmless: Sequence[float], weights: Sequence[float], harmful: Sequence[float], settings: FilterSettings
) -> Thresholds:
    drop = conformal_threshold(harmless, settings.fpr, weights)
    quarantine = conformal_threshold(harmless, max(settings.fpr, settings.quarantine_fpr), weights)
    if settings.recall is not None:
        quarantine = min(quarantine, recall_threshold(harmful, settings.recall))
    return Thresholds(quarantine, drop)


def filter_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Conversation],
    feature: RefusalFeature,
    calibration: LabelledPrompts,
    settings: FilterSettings,
    scorer: str,
    teacher_auroc: float | None = None,
    untrained_auroc: float | None = None,
    labels: dict[int, str] | None = None,
    report: Report | None = None,
) -> FilteredData:
    """Filter the rows with a scorer that is the teacher or the untrained model.

    Args:
        calibration: harmless rows set the thresholds; harmful ones estimate the recall beforehand.
        scorer: "teacher" or "untrained", for the report.
        labels: which rows are harmful, where that is known, only to measure.

    Raises:
        DataValidationError: too few calibration rows, or no row is left to train on.
    """
    as_a_whole = data_alarms(rows, settings.fail_on_alarms)
    calibrated = calibrate(model, tokenizer, feature, calibration, settings)
    scores = score_rows(model, tokenizer, rows, feature, settings, report)
    decisions = decide(rows, scores, calibrated.thresholds, settings)
    kept = [row for row, d in zip(rows, decisions, strict=True) if d.decision == "keep"]
    if not kept:
        remedy = "look at the decisions: is the data harmful throughout, or unlike the calibration rows?"
        raise DataValidationError(explain(f"the filter removed all {len(rows)} rows", "the user data", remedy))
    summary = _report(decisions, calibrated, feature, labels or {}, as_a_whole)
    summary = replace(summary, scorer=scorer, untrained_auroc=untrained_auroc, teacher_auroc=teacher_auroc)
    curves = {"calibration_harmless": calibrated.harmless, "calibration_harmful": calibrated.harmful}
    return FilteredData(kept, decisions, summary, curves)


def _report(
    decisions: Sequence[Decision],
    calibrated: Calibration,
    feature: RefusalFeature,
    labels: dict[int, str],
    as_a_whole: list[str],
) -> FilterReport:
    auroc, recall, fpr = measured(decisions, labels)
    counts = Counter(d.decision for d in decisions)
    return FilterReport(
        rows=len(decisions),
        kept=counts["keep"],
        dropped=counts["drop"],
        quarantined=counts["quarantine"],
        thresholds=calibrated.thresholds,
        layer=feature.layer,
        position=feature.position,
        readout=feature.readout,
        auroc=auroc,
        recall=recall,
        fpr=fpr,
        calibration_recall=calibrated.recall,
        calibration_fpr=calibrated.fpr,
        alarms=[*alarms(decisions), *as_a_whole],
    )
