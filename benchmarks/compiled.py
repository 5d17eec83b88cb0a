"""What compiled layers gain: `python -m benchmarks.compiled [--dtype float32]` (ten minutes, nothing beside it).

One process trains the default's teacher on the same rows as it is and compiled, in turns. The first steps of the first
compiled turn compile, with an empty cache; those of a second process find what the first has left. Ratios are of the
steps after these, medians and range over the turns. Appends a line to `results/compiled.jsonl`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean, median
from typing import Any

import torch

from benchmarks.development import overridden
from benchmarks.record import append
from reft.config import Settings, TeacherSettings
from reft.models.hardware import choose_hardware
from reft.teacher.preparation import fit_teacher, untrained_feature

TURNS = 3
ROWS = {"alignment_harmful_rows": 60, "alignment_harmless_rows": 150}
# Steps of a turn that may compile, for shapes that come late as well.
FIRST = 20


def turn(settings: Settings, untrained: Any, own: TeacherSettings) -> tuple[list[float], list[float]]:
    """(seconds until the first step's end and of each step after it, their losses) of a short training of a teacher."""
    ends, losses = [time.monotonic()], []

    def report(_step: int, _steps: int, values: dict[str, float]) -> None:
        ends.append(time.monotonic())
        losses.append(values["loss"])

    fit_teacher(
        untrained,
        settings.model,
        settings.data,
        settings=own,
        selection=settings.refusal_feature,
        seed=0,
        report=report,
    )
    return [end - start for start, end in pairwise(ends)], losses


def over_turns(ratios: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": median(ratios), "least": min(ratios), "most": max(ratios)}


def circumstances(settings: Settings) -> dict[str, Any]:
    """What a measurement of a teacher's steps was made with."""
    hardware = choose_hardware(settings.model.dtype)
    return {"hardware": hardware.reason, "dtype": str(hardware.dtype), "threads": torch.get_num_threads(),
            "batch": settings.teacher.batch_size, "turns": TURNS}  # fmt: skip


def compare(settings: Settings, turns: int) -> dict[str, Any]:
    """Steps as they are and compiled, in turns."""
    untrained, *_ = untrained_feature(settings.model, settings.data, settings.refusal_feature)
    ratios, taken, losses = [], {False: [], True: []}, {False: [], True: []}
    for _ in range(turns):
        for compiled, sets in taken.items():
            own = settings.teacher.model_copy(update={"compile_layers": compiled})
            seconds, found = turn(settings, untrained, own)
            sets.append(seconds)
            losses[compiled] += found
        as_it_is, compiled = (median(sets[-1][FIRST:]) for sets in taken.values())
        ratios.append(as_it_is / compiled)
    return {
        "times_as_fast": over_turns(ratios),
        "step_seconds": {str(key): median(sets[-1][FIRST:]) for key, sets in taken.items()},
        "mean_loss": {str(key): mean(found) for key, found in losses.items()},
        # Loading and reading, before the first step, are the same on both sides.
        "compiling_seconds": sum(taken[True][0][:FIRST]) - sum(taken[False][0][:FIRST]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="auto", help="number format of the model")
    parser.add_argument("--again", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    settings, _ = overridden([f"model.dtype={options.dtype}", *(f"data.{name}={rows}" for name, rows in ROWS.items())])
    if options.again:
        print(json.dumps(compare(settings, 1)))
        return
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        found = compare(settings, TURNS)
        again = [sys.executable, "-m", "benchmarks.compiled", "--again", "--dtype", options.dtype]
        second = subprocess.run(again, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    found["compiling_again_seconds"] = json.loads(second)["compiling_seconds"]
    append("compiled", {**circumstances(settings), **found})


if __name__ == "__main__":
    main()
