"""How far a teacher's training came, kept on disk: one that was killed goes on from there."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from reft.errors import StorageError
from reft.models.default_model import user_cache
from reft.models.masters import Masters
from reft.runtime.progress import say
from reft.storage.artifacts import resumed
from reft.storage.tensors import read_tensors
from reft.teacher.loss import RunningFeature

# Seconds between two checkpoints: what a kill may cost.
EVERY = 30.0
STATE = "state.safetensors"
LOSSES = ("loss", "ce", "regulariser")


@dataclass(frozen=True, kw_only=True)
class Learning:
    """All that moves from one step to the next."""

    masters: Masters
    optimizer: Optimizer
    schedule: LambdaLR
    running: RunningFeature


class Checkpoints:
    """One training's state in one file, written after a step now and then.

    Attributes:
        losses: those of every step so far, by the names in `LOSSES`.
        found: how many of these steps another process did.
    """

    def __init__(self, folder: Path | None = None, every: float = EVERY) -> None:
        """Without a folder nothing is kept."""
        self.losses: list[dict[str, float]] = []
        self.found = 0
        self._folder, self._every, self._last = folder, every, time.monotonic()

    def resume(self, learning: Learning) -> int:
        """Bring it to where the file says that the training was; returns the number of steps, 0 without a file."""
        if self._folder is None or not (file := self._folder / STATE).is_file():
            return 0
        try:
            tensors = read_tensors(file)
        except StorageError as error:
            say(f"the teacher's training begins anew, its checkpoint cannot be read: {error}")
            return 0
        self.losses = [dict(zip(LOSSES, row, strict=True)) for row in tensors["losses"].tolist()]
        self.found = len(self.losses)
        _restore(learning, tensors, self.found)
        say(f"the teacher's training goes on after step {self.found}, where another process left it")
        return self.found

    def after(self, learning: Learning, losses: dict[str, torch.Tensor]) -> dict[str, float]:
        """A step is done. Returns its losses as numbers.

        A disk that is full costs the checkpoints and not the training.
        """
        self.losses.append({name: losses[name].item() for name in LOSSES})
        if self._folder and time.monotonic() - self._last >= self._every:
            try:
                self._write(self._folder, learning)
            except (OSError, SafetensorError) as error:
                say(f"the teacher's training is kept no further, a kill would lose it: {error}")
                self._folder = None
            self._last = time.monotonic()
        return self.losses[-1]

    def _write(self, folder: Path, learning: Learning) -> None:
        losses = torch.tensor([list(row.values()) for row in self.losses], dtype=torch.float64)
        partial = folder / f"{STATE}.partial"
        save_file({**_tensors(learning), "losses": losses}, str(partial))
        partial.replace(folder / STATE)


@contextmanager
def checkpoints_of(key: str | None) -> Generator[Checkpoints]:
    """Those of the training with this key: found again after a kill or Ctrl-C, gone after success and after an error.

    They lie in the user's cache folder, until a training with another key begins; where that cannot be written, nothing
    is kept.

    Args:
        key: a digest of all that decides about the training; None: nothing is kept.
    """
    root = user_cache() / "teachers"
    if key is None:
        yield Checkpoints()
        return
    with suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
    if not os.access(root, os.W_OK | os.X_OK):
        yield Checkpoints()
        return
    with resumed("teacher", root, key) as folder:
        yield Checkpoints(folder)


def _tensors(learning: Learning) -> dict[str, torch.Tensor]:
    """The state by flat names; parameters are numbered in their order."""
    found = {f"parameter.{i}": p.detach().contiguous() for i, p in enumerate(learning.masters.parameters)}
    for i, state in learning.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{i}.{name}": torch.as_tensor(value).contiguous() for name, value in state.items()}
    found |= {f"running.{side}": getattr(learning.running, side) for side in ("harmful", "harmless")}
    found["random"] = torch.get_rng_state()
    if torch.cuda.is_available():
        found["random.cuda"] = torch.cuda.get_rng_state()
    return found


@torch.no_grad()
def _restore(learning: Learning, tensors: dict[str, torch.Tensor], steps: int) -> None:
    for i, parameter in enumerate(learning.masters.parameters):
        parameter.copy_(tensors[f"parameter.{i}"])
    learning.masters.give_back()
    states: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, i, what = name.split(".")
            states.setdefault(int(i), {})[what] = tensor
    learning.optimizer.load_state_dict({**learning.optimizer.state_dict(), "state": states})
    # One step short, and then that step, which also gives the optimizer its rate.
    here = {"last_epoch": steps - 1, "_step_count": steps + 1}
    learning.schedule.load_state_dict({**learning.schedule.state_dict(), **here})
    learning.schedule.step()
    for side in ("harmful", "harmless"):
        setattr(learning.running, side, tensors[f"running.{side}"].to(getattr(learning.running, side).device))
    torch.set_rng_state(tensors["random"])
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
