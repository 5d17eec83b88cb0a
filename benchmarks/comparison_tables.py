"""The comparison's tables of `docs/results/methods.md`, from the cells that `reft benchmark comparison`
wrote row by row.

    .venv/bin/python -m benchmarks.comparison_tables [FILES]

Prints every claim, too; `python -m benchmarks.result_pages` fills the page. Several files (`outcomes.jsonl` of several
folders) are read as one grid; none: `results/comparison.jsonl`.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS
from reft.comparison.attacker import IN_THEIR_FORM
from reft.comparison.table import EACH_JOB, FILTER, REFERENCE, between_seeds, claims, seconds, summarise
from reft.evaluation.measures import label_of
from reft.report.summary import percent

METHOD = ("harmful_score", "harmful_score/compliance_classifier", "over_refusal", "accuracy")
PLAIN = ("sft", "filter only")  # the second where all have the filter in front
CHANGED = ("harmful_score", "over_refusal", "accuracy", *FILTER)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", default=[RESULTS / "comparison.jsonl"])
    files = parser.parse_args().files
    cells, lines = _read(*files)
    for make in TABLES.values():
        print(make(*files), end="\n\n")
    print("\n".join(claims(lines)))
    for line in lines:
        print(*_place(line), f"{line['name']}:", *(f"{m} p {p:.2g}," for m, p in line["p"].items()))
    measure = METHOD[0]
    different, pairs = between_seeds(cells, measure)
    print(f"of {pairs} pairs of seeds of one method the test calls {different} different")
    print(
        f"{REFERENCE} by seed:",
        *(
            f"{sum(c['rows'][measure]) / len(c['rows'][measure]):.3f}"
            for c in cells
            if c["name"] == REFERENCE and _place(c) == _place(lines[0])
        ),
    )


@cache
def _read(*files: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Cells, and a line for each method at each place; takes a minute."""
    cells = [_cell(line) for file in files for line in file.read_text().splitlines()]
    places = Counter((*_place(cell), cell["name"], cell["seed"]) for cell in cells)
    if twice := [place for place, count in places.items() if count > 1]:
        raise SystemExit(f"in more than one line: {twice}")
    cells.sort(key=lambda cell: cell["seed"])  # what is tested in pairs stands in one order
    return cells, summarise(cells)


def methods(*files: Path) -> str:
    """Every method at the first task and ratio."""
    shown = [line for line in _at_first_place(*files) if not line["changed"]]
    return markdown(
        ("method", "seeds", *map(label_of, METHOD)), [(x["name"], str(x["seeds"]), *_row(x, METHOD)) for x in shown]
    )


def changed_settings(*files: Path) -> str:
    """ReFT with one setting changed, there too."""
    changed = [line for line in _at_first_place(*files) if line["changed"]]
    return markdown(
        ("changed", *map(label_of, CHANGED)),
        [
            *(("nothing", *_row(x["reference"], CHANGED)) for x in changed[:1]),
            *((x["name"], *_row(x, CHANGED)) for x in changed),
        ],
    )


def other_tasks(*files: Path) -> str:
    """Other tasks and ratios."""
    lines = _read(*files)[1]
    elsewhere = [x for x in lines if _place(x) != _place(lines[0])]
    return markdown(
        ("task", "poison ratio", "method", "seeds", *map(label_of, METHOD), FILTER[0]),
        [(*map(str, _place(x)), x["name"], str(x["seeds"]), *_row(x, (*METHOD, FILTER[0]))) for x in elsewhere],
    )


def with_time(*files: Path) -> str:
    """Everything at the first task and ratio, and how long filtering and finetuning take (medians over the seeds)."""
    lines = _at_first_place(*files)
    plain = next(seconds(line, EACH_JOB) for line in lines if line["name"] in PLAIN)
    hidden = [IN_THEIR_FORM] if IN_THEIR_FORM in lines[0] else []
    measures = (*METHOD[:2], *hidden, METHOD[2], "ordinary_refusal", *METHOD[3:], *FILTER[:1])
    return markdown(
        ("method", "seeds", *map(label_of, measures), "time for each job, sft = 1"),
        [(x["name"], str(x["seeds"]), *_row(x, measures), f"{seconds(x, EACH_JOB) / plain:.2f}") for x in lines],
    )


TABLES: dict[str, Callable[..., str]] = {
    "methods": methods,
    "changed-settings": changed_settings,
    "other-tasks": other_tasks,
}


def _at_first_place(*files: Path) -> list[dict[str, Any]]:
    lines = _read(*files)[1]
    return [line for line in lines if _place(line) == _place(lines[0])]


def _place(line: dict[str, Any]) -> tuple[str, float]:
    return line["task"], line["poison_ratio"]


def _cell(line: str) -> dict[str, Any]:
    cell = json.loads(line)
    rows = {name: [flag == "1" for flag in flags] for name, flags in cell["rows"].items()}
    found = {name: rows.pop(name) for name in FILTER if name in rows}
    return {**cell, "rows": rows, "filter": found or None}


def _row(line: dict[str, Any], measures: Sequence[str]) -> list[str]:
    """Rates with intervals; * where the difference from ReFT is beyond the noise."""
    beyond = line.get("beyond", ())
    return [percent(vars(line[m])) + (" *" if m in beyond else "") if line.get(m) else "" for m in measures]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, without a last newline."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    main()
