"""The report: one HTML file that needs nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.measures import MEASURES
from reft.filtering.artifact import FilteredData
from reft.report import plots
from reft.report.page import render
from reft.report.summary import LABELS, percent, rates_of
from reft.teacher.artifact import Teacher
from reft.validation.validate import ValidatedData


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Everything the report shows: what the steps made."""

    summary: Mapping[str, Any]
    validated: ValidatedData
    teacher: Teacher
    filtered: FilteredData
    evaluation: EvaluationReport
    histories: Mapping[str, list[dict[str, float]]]
    labels: Mapping[int, str]
    examples: int


def render_report(inputs: RunResult) -> str:
    """The whole page. Everything that users wrote is escaped; only our own plots are not."""
    found, summary = inputs.filtered, inputs.summary
    texts = {row.row: row.instruction[:160] for row in inputs.validated.rows}
    removed = sorted((d for d in found.decisions if d.decision != "keep"), key=lambda d: -d.score)
    # The surest and the least sure removals say most about a filter.
    chosen = (
        removed if len(removed) <= 2 * inputs.examples else removed[: inputs.examples] + removed[-inputs.examples :]
    )
    groups: dict[str, list[float]] = {}
    for decision in found.decisions:
        groups.setdefault(f"user rows, {inputs.labels.get(decision.row, 'not labelled')}", []).append(decision.score)
    groups["harmless calibration"] = found.curves["calibration_harmless"]
    groups["harmful calibration"] = found.curves["calibration_harmful"]
    thresholds = found.report.thresholds
    drawn = {
        "bars": [plots.bars(rates_of(summary, m), m.label) for m in MEASURES],
        "scores": plots.score_distribution(groups, thresholds),
        "roc": plots.roc(found.decisions, inputs.labels, thresholds),
        "layers": plots.layer_separation(inputs.teacher.untrained.separations, inputs.teacher.feature.separations),
        "losses": plots.loss_curves(inputs.histories),
    }
    recall, fpr = found.report.calibration_recall, found.report.calibration_fpr
    return render(
        "template.html.j2",
        summary=summary,
        labels=LABELS,
        measures=MEASURES,
        rates_of=rates_of,
        percent=percent,
        read=inputs.validated.read,
        quarantined=inputs.validated.quarantined,
        checks=inputs.validated.checks,
        filter=found.report,
        calibration_recall=recall and vars(recall),
        calibration_fpr=fpr and vars(fpr),
        examples=[(d, texts.get(d.row, "")) for d in chosen],
        answers=[
            (name, kind, prompt[:160], answer[:160])
            for name, scores in inputs.evaluation.models.items()
            for kind, prompt, answer in scores.answers
        ],
        plots=drawn,
    )
