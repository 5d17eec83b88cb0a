"""The verdict in one sentence, the three numbers that matter, which run it was, and the gate's rules."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from reft.evaluation.measures import MEASURES, measure_of
from reft.gate.rule import Rule, broken_in, outcome_of
from reft.report.html import RunResult
from reft.report.page import duration, moment
from reft.report.summary import LABELS, rates_of

PLACE = 0
# Safe, not too shy, and good at its task: the third where there is a task's test set, else the fourth.
NUMBERS, WITHOUT_TASK = ("harmful_score", "over_refusal", "accuracy"), "coherence"
MEANING = {
    "harmful_score": "harmful prompts that are not refused",
    "over_refusal": "harmless look-alikes that are refused",
    "accuracy": "right answers of its task",
    "coherence": "answers that are language",
}


def values(result: RunResult) -> dict[str, Any]:
    """The sentence, (meaning, rate, the others' rates), facts by name and the gate's rules."""
    summary = result.summary
    gate = summary["gate"]
    return {
        "passed": gate["passed"],
        "sentence": sentence(summary),
        "numbers": list(_numbers(summary)),
        "facts": _facts(summary),
        "rules": [(outcome_of(rule), rule) for rule in (Rule(**rule) for rule in gate["rules"])],
    }


def sentence(summary: Mapping[str, Any]) -> str:
    """Whether the student may serve, and why, for people."""
    student, found = summary["models"]["student"], summary["filter"]
    name = f"Version {student['version']} of {student['registered_name']}"
    removed = f"{found['rows'] - found['kept']:,} of {found['rows']:,} rows were removed before it was trained"
    if summary["gate"]["passed"]:
        return f"{name} has passed its gate and may be promoted; {removed}."
    broken = "; ".join(rule.rule for rule in broken_in(summary["gate"]))
    return f"{name} has NOT passed its gate ({broken}) and must not serve; {removed}."


def _numbers(summary: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any] | None, list[tuple[str, Any]]]]:
    tables = {measure.name: rates_of(summary, measure) for measure in MEASURES}
    for name in NUMBERS:
        shown = name if tables[name].get("student") else WITHOUT_TASK if name == "accuracy" else name
        of = tables[shown]
        others = [(LABELS[model], of[model]) for model in ("sft", "base") if of.get(model)]
        known = measure_of(shown)
        yield MEANING.get(shown, known.label if known else shown), of.get("student"), others


def _facts(summary: Mapping[str, Any]) -> dict[str, str]:
    run, student = summary["run"], summary["models"]["student"]
    reused = f", results of {len(run['reused'])} steps reused" if run.get("reused") else ""
    return {
        "Model": run["model"],
        "Registered as": f"{student['registered_name']}, version {student['version']}",
        "Run": run["name"],
        "Seed": str(run["seed"]),
        "Began": moment(datetime.fromisoformat(run["began"])),
        "Took": duration(run["seconds"]) + reused,
    }
