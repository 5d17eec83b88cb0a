"""Where a killed training goes on: DeepSpeed's newest checkpoint, in the job's own folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from reft.artifacts import write_text


def last_step(folder: Path) -> int:
    """The optimizer step of the newest checkpoint; 0 where there is none."""
    newest = folder / "checkpoints" / "newest"
    return int(newest.read_text()) if newest.is_file() else 0


def save_checkpoint(engine: Any, folder: Path, step: int, tokens: int, rank: int) -> None:
    """Write what trains, the optimizer, the schedule and rank 0's random state after a step; on all ranks at once.

    `newest` names it only after every rank has written its part, and the others go only after that. (With dropout,
    the other ranks' random states are not kept: the resumed training is then as good as, not equal to, the other.)
    """
    checkpoints = folder / "checkpoints"
    state = {"tokens": tokens, "random": torch.get_rng_state()}
    engine.save_checkpoint(str(checkpoints), f"step-{step}", state, save_latest=False, exclude_frozen_parameters=True)
    torch.distributed.barrier()
    if rank == 0:
        write_text(checkpoints / "newest", str(step))
        for old in checkpoints.glob("step-*"):
            if old.name != f"step-{step}":
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
