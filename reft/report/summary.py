"""`summary.json`: the run's result for programs, and the short table for people."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reft.artifacts import read_json
from reft.errors import StorageError
from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.statistics import Interval
from reft.filtering.artifact import FilteredData

SCHEMA = 1
LABELS = {"base": "base model", "aligned": "safety-aligned", "plain_sft": "plain finetune", "student": "ReFT student"}


def build_summary(
    filtered: FilteredData,
    evaluation: EvaluationReport,
    task: str,
    cost: Mapping[str, Mapping[str, float]],
    models: Mapping[str, Any],
) -> dict[str, Any]:
    """The run as one JSON-ready tree; every rate is {"value", "low", "high", "n"} or null."""
    scores, report = evaluation.models, filtered.report

    def each(field: str) -> dict[str, Any]:
        return {name: _plain(getattr(result, field)) for name, result in scores.items()}

    return {
        "schema": SCHEMA,
        "filter": {
            "rows": report.rows,
            "kept": report.kept,
            "dropped": report.dropped,
            "quarantined": report.quarantined,
            "threshold": report.thresholds.drop,
            "layer": report.layer,
            "position": report.position,
            "readout": report.readout,
            "scorer": report.scorer,
            "auroc": report.auroc,
            "recall": _plain(report.recall),
            "fpr": _plain(report.fpr),
            "unseen": [asdict(group) for group in filtered.unseen],
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


def last_seconds(summary: Path) -> dict[str, float] | None:
    """What each stage of an earlier run took; None where it left no summary that can be read."""
    try:
        return {stage: float(cost["seconds"]) for stage, cost in read_json(summary)["cost"].items()}
    except (StorageError, KeyError, TypeError, ValueError, AttributeError):
        return None


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
    aurocs = [f"{g['auroc']:.3f} against {g['name']}" for g in found["unseen"] if g["auroc"] is not None]
    if aurocs:
        lines.append(f"filter's AUROC on unseen sources: {', '.join(aurocs)}")
    return "\n".join(lines)


def percent(interval: Mapping[str, float] | None) -> str:
    """A rate with its 95 % interval, for people."""
    if not interval:
        return "not measured"
    return f"{100 * interval['value']:.1f} % [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def _plain(interval: Interval | None) -> dict[str, Any] | None:
    return asdict(interval) if interval else None
