"""One plot a setting of ReFT that was varied: what each value does to safety, refusals and accuracy."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from reft.comparison.settings import ComparisonSettings
from reft.report.plots import by_value


def ablation_plots(
    lines: Sequence[dict[str, Any]], grid: ComparisonSettings, measures: Sequence[str]
) -> list[tuple[str, str]]:
    """(setting, its plot as SVG); the default stands among the values that were tried, on the same seeds."""
    plots = []
    for setting in grid.ablations:
        default = _shown(attrgetter(setting)(grid.run))
        tried = [line for line in lines if [key for key, _ in line["changed"]] == [setting]]
        if not tried:
            continue
        by_its_value = {_shown(line["changed"][0][1]): line for line in tried}
        if tried[0]["reference"]:  # ReFT itself is there on the same seeds
            by_its_value[default] = tried[0]["reference"]
        known = [m for m in measures if all(values.get(m) for values in by_its_value.values())]
        plots.append((setting, by_value(setting, _in_order(by_its_value), default, measures=known)))
    return plots


def _shown(value: Any) -> Any:
    """Numbers, words and none as they are, anything else (a list, a section) as it reads."""
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _in_order(values: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Numbers by size, anything else (none, a word) first as it came."""
    return dict(sorted(values.items(), key=lambda item: item[0] if isinstance(item[0], int | float) else float("-inf")))
