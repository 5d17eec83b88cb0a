"""Every measure of every model, with its interval."""

from collections.abc import Mapping
from typing import Any

from reft.evaluation.measures import MEASURES
from reft.report import plots
from reft.report.html import RunResult
from reft.report.summary import LABELS, rates_of

PLACE = 2


def values(result: RunResult) -> dict[str, Any]:
    """A row a model and a plot a measure."""
    rates = [rates_of(result.summary, measure) for measure in MEASURES]
    return {
        "measures": MEASURES,
        "rows": [
            (label, [of.get(name) for of in rates]) for name, label in LABELS.items() if any(name in of for of in rates)
        ],
        "models": [label for name, label in LABELS.items() if name in result.summary.get("by_source", {})],
        "grouped": [
            (f"{measure.label} by {words}", _table(result.summary.get(by, {}), measure.name))
            for measure in MEASURES
            for by, words in (("by_source", "source"), ("by_kind", "kind of question"))
            if any(measure.name in found for found in result.summary.get(by, {}).values())
        ],
        "bars": [plots.bars(of, m.label) for m, of in zip(MEASURES, rates, strict=True) if any(of.values())],
    }


def _table(found: Mapping[str, Any], measure: str) -> list[tuple[str, list[Any]]]:
    """A row a source or kind: its name, and the rate of every model in the order of `LABELS`."""
    groups = dict.fromkeys(name for of in found.values() for name in of.get(measure, {}))
    models = [name for name in LABELS if name in found]
    return [(group, [found[model].get(measure, {}).get(group) for model in models]) for group in groups]
