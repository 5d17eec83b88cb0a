"""Where a killed training goes on: DeepSpeed's checkpoints, the newest two, in the job's own folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

KEPT = 2


def last_step(folder: Path) -> int:
    """The optimizer step of the newest whole checkpoint; 0 where there is none.

    DeepSpeed names a checkpoint in `latest` only after every rank has written its part.
    """
    latest = folder / "checkpoints" / "latest"
    return int(latest.read_text().rsplit("-", 1)[1]) if latest.is_file() else 0


def save_checkpoint(engine: Any, folder: Path, step: int, tokens: int, rank: int) -> None:
    """Write weights that train, optimizer, schedule and random state after a step; on all ranks at once."""
    state = {"tokens": tokens, "random": torch.get_rng_state()}
    engine.save_checkpoint(str(folder / "checkpoints"), f"step-{step}", state, exclude_frozen_parameters=True)
    if rank == 0:
        written = sorted((folder / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
        for old in written[:-KEPT]:
            shutil.rmtree(old)


def load_checkpoint(engine: Any, folder: Path) -> tuple[int, int]:
    """Put the engine where the newest checkpoint left it; returns (steps done, tokens seen), (0, 0) without one."""
    step = last_step(folder)
    if not step:
        return 0, 0
    _, state = engine.load_checkpoint(str(folder / "checkpoints"), f"step-{step}", load_module_strict=False)
    torch.set_rng_state(state["random"])
    return step, state["tokens"]


def forget_metrics_after(metrics: Path, step: int) -> None:
    """Drop the lines of steps that will be done again, and a line that was cut off."""
    lines = metrics.read_text().splitlines() if metrics.is_file() else []
    kept = []
    for line in lines:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            break
    metrics.write_text("".join(kept))
