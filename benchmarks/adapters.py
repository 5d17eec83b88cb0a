"""What it costs where LoRA matrices lie: `python -m benchmarks.adapters` (fifteen minutes, nothing beside it).

One process trains the default's teacher for a few dozen steps, its adapter on other modules each time, in turns. Ratios
are of steps' times, medians and range over the turns. Appends a line to `results/adapters.jsonl`. What each is worth is
in `results/leave_source_out.jsonl`.
"""

import argparse
from statistics import mean, median
from typing import Any

from benchmarks.compiled import FIRST, ROWS, TURNS, circumstances, over_turns, turn
from benchmarks.development import overridden
from benchmarks.record import append
from reft.config import Settings
from reft.teacher.preparation import untrained_feature

# By the names that the default model's modules have.
WHERE: dict[str, str | list[str]] = {
    "all-linear": "all-linear",
    "feed-forward and gates": ["gate_proj", "up_proj", "down_proj"],
    "feed-forward": "feed-forward",
}


def compare(settings: Settings) -> dict[str, Any]:
    """Steps with each adapter, in turns, and how many times as fast as the first."""
    untrained, *_ = untrained_feature(settings.model, settings.data, settings.refusal_feature)
    own = settings.teacher
    if own.lora is None:
        raise SystemExit("the settings' teacher has no adapter")
    taken: dict[str, list[float]] = {name: [] for name in WHERE}
    losses: dict[str, list[float]] = {name: [] for name in WHERE}
    for _ in range(TURNS):
        for name, modules in WHERE.items():
            lora = own.lora.model_copy(update={"target_modules": modules})
            seconds, found = turn(settings, untrained, own.model_copy(update={"lora": lora}))
            taken[name].append(median(seconds[FIRST:]))
            losses[name] += found
    first = next(iter(WHERE))
    ratios = {name: [a / b for a, b in zip(taken[first], seconds, strict=True)] for name, seconds in taken.items()}
    return {
        "times_as_fast": {name: over_turns(found) for name, found in ratios.items()},
        "step_seconds": {name: median(seconds) for name, seconds in taken.items()},
        "mean_loss": {name: mean(found) for name, found in losses.items()},
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings, _ = overridden([f"data.{name}={rows}" for name, rows in ROWS.items()])
    append("adapters", {**circumstances(settings), **compare(settings)})


if __name__ == "__main__":
    main()
