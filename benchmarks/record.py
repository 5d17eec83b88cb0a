"""The record: a dated line of JSON for each measurement. Imports nothing heavy, whose memory would be measured, too."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def append(name: str, line: dict[str, Any]) -> None:
    """Add a dated line to `results/NAME.jsonl` and print it."""
    line = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **line}
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as results:
        results.write(json.dumps(line) + "\n")
    print(json.dumps(line, indent=2))


def records(path: Path) -> list[dict[str, Any]]:
    """One object a line, in the order of writing."""
    return [json.loads(line) for line in path.read_text().splitlines()]
