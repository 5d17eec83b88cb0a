"""What a stage costs: seconds, the peak memory of this process and its children, and tokens."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

from reft.models.memory import collect_garbage
from reft.runtime.progress import current_run


@dataclass
class Cost:
    """Seconds of wall clock, peak resident memory in MB, and tokens that went through a model.

    `peak_gpu_mb` is what this process's tensors took of its GPU, where it used one; its children's are not in it.
    """

    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    tokens: int = 0
    peak_gpu_mb: float | None = None

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        gpu = {} if self.peak_gpu_mb is None else {"peak_gpu_mb": self.peak_gpu_mb}
        return {"seconds": self.seconds, "peak_rss_mb": self.peak_rss_mb, "tokens": self.tokens, **gpu}


@contextmanager
def measured(stage: str, every_seconds: float = 0.25) -> Generator[Cost]:
    """Measure the body as a stage of the run; the caller sets `tokens`.

    Memory that an earlier stage has freed is given back first: it is not this stage's, and a training
    that runs as processes of its own needs it.
    """
    collect_garbage()
    if run := current_run():
        run.begin(stage)
    cost, stop, started = Cost(), threading.Event(), time.monotonic()

    def sample() -> None:
        while True:
            cost.peak_rss_mb = max(cost.peak_rss_mb, _resident_mb())
            if stop.wait(every_seconds):
                return

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    if torch.cuda.is_initialized():  # a stage that needs no GPU is not made to hold one
        torch.cuda.reset_peak_memory_stats()
    try:
        yield cost
    finally:
        stop.set()
        sampler.join()
        cost.seconds = time.monotonic() - started
        if torch.cuda.is_initialized():
            cost.peak_gpu_mb = torch.cuda.max_memory_allocated() / 2**20
        if run:
            run.end(stage, cost.seconds)


def _resident_mb() -> float:
    """Resident memory of this process and its children; pages that they share count once (Linux)."""
    this = psutil.Process()
    children = this.children(recursive=True)
    if not children:
        return this.memory_info().rss / 2**20
    total = 0
    for process in [this, *children]:
        try:
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
        except psutil.Error:  # it ended between listing and reading, or belongs to somebody else
            continue
    return total / 2**20
