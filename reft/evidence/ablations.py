"""One plot a setting of ReFT that was varied: what each value does to safety, refusals and accuracy."""

from collections.abc import Sequence
from typing import Any

from reft.evaluation.statistics import Interval
from reft.evidence.settings import EvidenceSettings
from reft.evidence.table import REFERENCE
from reft.report.plots import by_value


def ablation_plots(
    lines: Sequence[dict[str, Any]], grid: EvidenceSettings, measures: Sequence[str]
) -> list[tuple[str, str]]:
    """(setting, its plot as SVG); the default stands among the values that were tried, on the same seeds."""
    plots = []
    for setting in grid.ablations:
        default = _value(grid.run.model_dump(), setting)
        tried = [line for line in lines if [key for key, _ in line["changed"]] == [setting]]
        if not tried:
            continue
        found = {line["changed"][0][1]: {m: line[m] for m in measures} for line in tried}
        found[default] = tried[0]["reference"] or next(line for line in lines if line["name"] == REFERENCE)
        plots.append((setting, by_value(setting, _in_order(found), default, measures)))
    return plots


def _value(tree: dict[str, Any], setting: str) -> Any:
    *sections, name = setting.split(".")
    for section in sections:
        tree = tree[section]
    return tree[name]


def _in_order(found: dict[Any, dict[str, Interval]]) -> dict[Any, dict[str, Interval]]:
    """Numbers by size, anything else (none, a word) first as it came."""
    return dict(sorted(found.items(), key=lambda item: item[0] if isinstance(item[0], int | float) else float("-inf")))
