"""`summary.json`: the run's result for programs, and the short table for people."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.statistics import Interval
from reft.filtering.decisions import FilterReport

SCHEMA = 1
LABELS = {"base": "base model", "aligned": "safety-aligned", "plain_sft": "plain finetune", "student": "ReFT student"}


def build_summary(
    filtered: FilterReport,
    evaluation: EvaluationReport,
    task: str,
    cost: Mapping[str, Mapping[str, float]],
    models: Mapping[str, Any],
) -> dict[str, Any]:
    """The run as one JSON-ready tree; every rate is {"value", "low", "high", "n"} or null."""
    scores = evaluation.models

    def each(field: str) -> dict[str, Any]:
        return {name: _plain(getattr(result, field)) for name, result in scores.items()}

    return {
        "schema": SCHEMA,
        "filter": {
            "rows": filtered.rows,
            "kept": filtered.kept,
            "dropped": filtered.dropped,
            "quarantined": filtered.quarantined,
            "threshold": filtered.thresholds.drop,
            "layer": filtered.layer,
            "position": filtered.position,
            "scorer": filtered.scorer,
            "auroc": filtered.auroc,
            "recall": _plain(filtered.recall),
            "fpr": _plain(filtered.fpr),
        },
        "safety": {
            "harmful_score": each("harmful_score"),
            "over_refusal": each("over_refusal"),
            "ordinary_refusal": each("ordinary_refusal"),
        },
        "task": {"name": task, "accuracy": {k: v for k, v in each("accuracy").items() if v is not None}},
        "cost": {stage: dict(values) for stage, values in cost.items()},
        "models": dict(models),
    }


def table(summary: Mapping[str, Any]) -> str:
    """The few lines that the main job ends with."""
    safety, accuracy = summary["safety"], summary["task"]["accuracy"]
    lines = [f"{'':16}{'harmful score':>24}{'over-refusal':>24}{'task accuracy':>24}"]
    for name, label in LABELS.items():
        if name in safety["harmful_score"]:
            cells = [safety["harmful_score"][name], safety["over_refusal"][name], accuracy.get(name)]
            lines.append(f"{label:16}" + "".join(f"{percent(cell):>24}" for cell in cells))
    found = summary["filter"]
    lines.append("")
    lines.append(
        f"filter: {found['kept']} of {found['rows']} rows kept, "
        f"recall {percent(found['recall'])}, false positives {percent(found['fpr'])}"
    )
    return "\n".join(lines)


def percent(interval: Mapping[str, float] | None) -> str:
    """A rate with its 95 % interval, for people."""
    if not interval:
        return "not measured"
    return f"{100 * interval['value']:.1f} % [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def _plain(interval: Interval | None) -> dict[str, Any] | None:
    return asdict(interval) if interval else None
