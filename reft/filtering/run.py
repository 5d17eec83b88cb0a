"""The filter on a customer's rows: what is kept, why the rest is not, and how far to trust that."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from reft.conversations.schema import Conversation
from reft.errors import DataValidationError, explain
from reft.filtering.artifact import FilteredData
from reft.filtering.data_alarms import data_alarms
from reft.filtering.decisions import Decision, FilterReport, alarms, labels_unused, measured
from reft.filtering.filter import Filter
from reft.filtering.overrides import Override, overridden, without_rows
from reft.filtering.unseen import unseen_groups
from reft.moved import keep_old_names
from reft.runtime.progress import Report


def filter_rows(
    chosen: Filter,
    rows: Sequence[Conversation],
    *,
    labels: Mapping[int, str] | None = None,
    overrides: Mapping[int, Override] | None = None,
    decided: Callable[[list[Decision]], object] | None = None,
    report: Report | None = None,
) -> FilteredData:
    """Filter the rows.

    Args:
        labels: which rows are harmful, where that is known, only to measure.
        overrides: people's decisions, by row.
        decided: called with the decisions, also where they leave nothing to train on.
        report: called with (rows so far, rows in all).

    Raises:
        DataValidationError: an alarm that shall stop the job, or no row is left to train on.
    """
    as_a_whole = data_alarms(rows, chosen.settings.fail_on_alarms)
    numbers = {row.row for row in rows}
    as_a_whole += [*without_rows((overrides or {}).values(), numbers), *labels_unused(labels or {}, numbers)]
    _, judged = chosen.judge(rows, report=report)
    decisions = [overridden(d, (overrides or {}).get(d.row)) for d in judged]
    if decided:
        decided(decisions)
    kept = [row for row, d in zip(rows, decisions, strict=True) if d.decision == "keep"]
    if not kept:
        remedy = "look at the decisions: is the data harmful throughout, or unlike the calibration rows?"
        raise DataValidationError(explain(f"the filter removed all {len(rows)} rows", "the user data", remedy))
    calibration = chosen.calibration
    curves = {"calibration_harmless": calibration.harmless, "calibration_harmful": calibration.harmful}
    return FilteredData(
        kept=kept,
        decisions=decisions,
        report=_report(decisions, chosen, labels=labels or {}, as_a_whole=as_a_whole),
        curves=curves,
    )


def with_unseen(
    filtered: FilteredData,
    chosen: Filter,
    *,
    scores: Mapping[str, Sequence[float]],
    untrained: Mapping[str, Sequence[float]],
) -> FilteredData:
    """Add how the filter does on prompts from sources that nothing was trained or calibrated on.

    Args:
        scores: of the prompts by what they are; one group is `reft.filtering.unseen.HARMFUL`.
        untrained: the untrained difference of means' scores of the same, to compare with.
    """
    return replace(filtered, unseen=unseen_groups(scores, untrained, chosen.calibration.thresholds))


def _report(
    decisions: Sequence[Decision], chosen: Filter, *, labels: Mapping[int, str], as_a_whole: list[str]
) -> FilterReport:
    auroc, recall, fpr = measured(decisions, labels)
    counts = Counter(d.decision for d in decisions)
    scorer, calibration = chosen.scorer, chosen.calibration
    return FilterReport(
        rows=len(decisions),
        kept=counts["keep"],
        dropped=counts["drop"],
        quarantined=counts["quarantine"],
        thresholds=calibration.thresholds,
        scorer=scorer.name,
        reads=scorer.reads,
        details=scorer.details,
        auroc=auroc,
        recall=recall,
        fpr=fpr,
        calibration_recall=calibration.recall,
        calibration_fpr=calibration.fpr,
        fpr_by_kind=calibration.fpr_by_kind,
        alarms=[*alarms(decisions), *as_a_whole, *scorer.doubts],
    )


keep_old_names(__name__)
