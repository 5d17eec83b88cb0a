"""`summary.json`: the run's result for programs, and the short table for people."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from reft.errors import StorageError
from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.evaluate import ModelScores
from reft.evaluation.measures import MEASURES, Measure
from reft.filtering.artifact import FilteredData
from reft.gate.rule import told
from reft.statistics import Interval
from reft.storage.artifacts import read_json

SCHEMA = 1
LABELS = {"base": "base model", "aligned": "safety-aligned", "sft": "SFT", "student": "ReFT student"}


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Which run it was.

    Attributes:
        name, id: ZenML's.
        model: the base model, as the settings name it.
        began: when the run began, with its time zone.
        seconds: from then until its report.
        reused: stages whose result is an earlier run's; their cost is what it took then.
    """

    name: str
    id: str
    model: str
    seed: int
    began: datetime
    seconds: float
    reused: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "began": self.began.isoformat(timespec="seconds"), "reused": list(self.reused)}


def build_summary(
    filtered: FilteredData,
    evaluation: EvaluationReport,
    task: str,
    *,
    cost: Mapping[str, Mapping[str, float]],
    models: Mapping[str, Any],
    verdict: Mapping[str, Any],
    run: RunFacts,
    lineage: Mapping[str, str],
    audit: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The run as one JSON-ready tree; every rate is {"value", "low", "high", "n"} or null.

    Args:
        verdict: the gate's, as `reft.gate.gate.Verdict.as_dict` gives it.
        lineage: digests of what the student was made from, as `reft.keys.lineage.lineage` gives them.
        audit: as `reft.audit.verdict.AuditReport.as_dict` gives it; None where none was made.
    """
    scores = evaluation.models
    return {
        "schema": SCHEMA,
        "run": run.as_dict(),
        "filter": _filter(filtered),
        "safety": _section("safety", scores),
        "by_source": {name: _groups(result.by_source) for name, result in scores.items()},
        "by_kind": {name: _groups(result.by_kind) for name, result in scores.items()},
        "task": {"name": task, **_section("task", scores)},
        "gate": {"passed": verdict["passed"], "rules": list(verdict["rules"])},
        **({"audit": dict(audit)} if audit else {}),
        "cost": {stage: dict(values) for stage, values in cost.items()},
        "models": dict(models),
        "lineage": dict(lineage),
    }


def _filter(filtered: FilteredData) -> dict[str, Any]:
    report = filtered.report
    return {
        "rows": report.rows,
        "kept": report.kept,
        "dropped": report.dropped,
        "quarantined": report.quarantined,
        "threshold": report.thresholds.drop,
        "scorer": report.scorer,
        "reads": report.reads,
        **{name: report.details.get(name) for name in ("layer", "position", "readout")},
        "auroc": report.auroc,
        "recall": _plain(report.recall),
        "fpr": _plain(report.fpr),
        "unseen": [asdict(group) for group in filtered.unseen],
    }


def last_seconds(summary: Path) -> dict[str, float] | None:
    """What each stage of an earlier run took; None where it left no summary that can be read."""
    try:
        return {stage: float(cost["seconds"]) for stage, cost in read_json(summary)["cost"].items()}
    except (StorageError, KeyError, TypeError, ValueError, AttributeError):
        return None


def table(summary: Mapping[str, Any]) -> str:
    """The few lines that the main job ends with: every model's rates, the filter's, and the gate's verdict."""
    lines = [f"{'':16}" + "".join(f"{m.label:>24}" for m in MEASURES)]
    for name, label in LABELS.items():
        if any(name in rates_of(summary, m) for m in MEASURES):
            lines.append(f"{label:16}" + "".join(f"{percent(rates_of(summary, m).get(name)):>24}" for m in MEASURES))
    found = summary["filter"]
    lines.append("")
    lines.append(
        f"filter: {found['kept']} of {found['rows']} rows kept, "
        f"recall {percent(found['recall'])}, false positives {percent(found['fpr'])}"
    )
    aurocs = [f"{g['auroc']:.3f} against {g['name']}" for g in found["unseen"] if g["auroc"] is not None]
    if aurocs:
        lines.append(f"filter's AUROC on unseen sources: {', '.join(aurocs)}")
    if "audit" in summary:
        lines += ["", f"audit: {summary['audit']['words']}"]
    if "gate" in summary:  # summaries of earlier versions have none
        lines += ["", told(summary["gate"])]
    return "\n".join(lines)


def rates_of(summary: Mapping[str, Any], measure: Measure) -> Mapping[str, Mapping[str, float] | None]:
    """A measure's rates by model."""
    return summary[measure.section].get(measure.name, {})


def percent(interval: Mapping[str, float] | None) -> str:
    """A rate with its 95 % interval, for people."""
    if not interval:
        return "not measured"
    return f"{100 * interval['value']:.1f} % [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def _groups(found: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, Any]]:
    return {measure: {name: asdict(one) for name, one in rates.items()} for measure, rates in found.items()}


def _section(wanted: str, scores: Mapping[str, ModelScores]) -> dict[str, Any]:
    """The measures of a section, each by model; the task's only for models that were asked about it."""
    found = {
        m.name: {name: _plain(result.rates.get(m.name)) for name, result in scores.items()}
        for m in MEASURES
        if m.section == wanted
    }
    if wanted == "task":
        return {name: {k: v for k, v in rates.items() if v is not None} for name, rates in found.items()}
    return found


def _plain(interval: Interval | None) -> dict[str, Any] | None:
    return asdict(interval) if interval else None
