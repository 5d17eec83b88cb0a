"""What a training leaves in its folder while it runs, for whoever watches it: metrics, and why a rank failed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reft.finetuning.checkpoints import forget_metrics_after, last_step
from reft.finetuning.job import FINISHED, STOPPED
from reft.storage.artifacts import read_json

Report = Callable[[dict[str, Any]], None]


def prepare_folder(folder: Path) -> None:
    """Before a training starts or goes on: drop what an earlier one said about its end and its lost steps."""
    forget_metrics_after(folder / "metrics.jsonl", last_step(folder))
    for stale in (*folder.glob("error-*.json"), folder / FINISHED):
        stale.unlink(missing_ok=True)


class MetricsFollower:
    """Passes each step's metrics on once, also when a restarted training does a step again.

    The file is opened anew for each look, since a network file system shows other machines' lines only then.
    """

    def __init__(self, path: Path, report: Report | None) -> None:
        self._path, self._report = path, report
        self._place, self._step = 0, 0

    def forward(self) -> bool:
        """Pass the new lines on; whether there were any."""
        if not self._path.is_file():
            return False
        some = False
        with self._path.open("rb") as lines:
            lines.seek(self._place)
            while (line := lines.readline()).endswith(b"\n"):
                self._place += len(line)
                metrics = json.loads(line)
                if metrics["step"] > self._step:
                    self._step, some = metrics["step"], True
                    if self._report:
                        self._report(metrics)
        return some

    def start_over(self) -> None:
        """The file was shortened: read it from its beginning, passing on only steps that are new."""
        self._place = 0


def rank_errors(folder: Path) -> dict[str, dict[str, Any]]:
    """What each failed rank wrote down, by its number."""
    return {path.stem.removeprefix("error-"): read_json(path) for path in sorted(folder.glob("error-*.json"))}


def failing_rank(errors: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """The rank that is to blame and its own words: its explanation, or its traceback."""
    # Of several, what a rank knew to explain, else the first: the others failed because that one was gone.
    rank, error = min(errors.items(), key=lambda found: (found[1]["kind"] != "user", found[1]["time"]))
    return rank, error["message"] if error["kind"] == "user" else error["trace"]


def was_stopped(errors: dict[str, dict[str, Any]]) -> bool:
    """Whether the ranks ended because they were told to go, and saved."""
    return bool(errors) and failing_rank(errors)[1].startswith(STOPPED)
