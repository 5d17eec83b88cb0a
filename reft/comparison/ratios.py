"""What more poison does: one plot a measure for every task that was run at more than one poison ratio."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from reft.evaluation.measures import label_of
from reft.report.plots import by_ratio
from reft.statistics import Interval


def ratio_plots(lines: Sequence[dict[str, Any]], measures: Sequence[str]) -> list[tuple[str, list[str]]]:
    """(task, its plots as SVG) over the methods that were run at more than one ratio, in the measures' order."""
    groups: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if not line["changed"]:
            groups[line["task"]][line["name"]].append(line)
    found = []
    for task, methods in groups.items():
        several = {name: there for name, there in methods.items() if len(there) > 1}
        if several:
            found.append((task, [by_ratio(label_of(measure), _curves(several, measure)) for measure in measures]))
    return found


def _curves(methods: dict[str, list[dict[str, Any]]], measure: str) -> dict[str, dict[float, Interval]]:
    """{method: {poison ratio: rate}}, ratios by size."""
    return {
        name: {line["poison_ratio"]: line[measure] for line in sorted(there, key=lambda each: each["poison_ratio"])}
        for name, there in methods.items()
    }
