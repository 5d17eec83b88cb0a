"""Every measure of every model, with its interval."""

from typing import Any

from reft.evaluation.measures import MEASURES
from reft.report import plots
from reft.report.html import RunResult
from reft.report.summary import LABELS, rates_of

PLACE = 1


def values(result: RunResult) -> dict[str, Any]:
    """A row a model and a plot a measure."""
    rates = [rates_of(result.summary, measure) for measure in MEASURES]
    return {
        "measures": MEASURES,
        "rows": [
            (label, [of.get(name) for of in rates]) for name, label in LABELS.items() if any(name in of for of in rates)
        ],
        "bars": [plots.bars(of, measure.label) for measure, of in zip(MEASURES, rates, strict=True)],
    }
