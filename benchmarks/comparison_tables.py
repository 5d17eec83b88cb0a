"""The README's tables of the comparison, from the cells that `reft benchmark comparison` wrote row by row.

    .venv/bin/python -m benchmarks.comparison_tables [FILES]

Several files (`outcomes.jsonl` of several folders) are read as one grid; none: `results/comparison.jsonl`.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.development import RESULTS
from reft.comparison.table import FILTER, REFERENCE, between_seeds, claims, summarise
from reft.evaluation.measures import label_of
from reft.report.summary import percent

METHOD = ("harmful_score", "harmful_score/compliance_classifier", "over_refusal", "accuracy")
CHANGED = ("harmful_score", "over_refusal", "accuracy", *FILTER)


def main() -> None:
    files = [Path(name) for name in sys.argv[1:]] or [RESULTS / "comparison.jsonl"]
    cells = [_cell(line) for file in files for line in file.read_text().splitlines()]
    places = Counter((*_place(cell), cell["name"], cell["seed"]) for cell in cells)
    if twice := [place for place, count in places.items() if count > 1]:
        raise SystemExit(f"in more than one line: {twice}")
    cells.sort(key=lambda cell: cell["seed"])  # what is tested in pairs stands in one order
    lines = summarise(cells)
    main = [line for line in lines if _place(line) == _place(lines[0])]
    changed = [line for line in main if line["changed"]]
    _table(
        ("method", "seeds", *map(label_of, METHOD)),
        [(x["name"], str(x["seeds"]), *_row(x, METHOD)) for x in main if x not in changed],
    )
    _table(
        ("changed", *map(label_of, CHANGED)),
        [
            *(("nothing", *_row(x["reference"], CHANGED)) for x in changed[:1]),
            *((x["name"], *_row(x, CHANGED)) for x in changed),
        ],
    )
    elsewhere = [line for line in lines if line not in main]
    _table(
        ("task", "poison ratio", "method", "seeds", *map(label_of, METHOD), FILTER[0]),
        [(*map(str, _place(x)), x["name"], str(x["seeds"]), *_row(x, (*METHOD, FILTER[0]))) for x in elsewhere],
    )
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


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in (head, ["---"] * len(head), *rows, []):
        print(f"| {' | '.join(row)} |" if row else "")


if __name__ == "__main__":
    main()
