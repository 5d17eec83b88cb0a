"""What a stage costs: seconds, the peak memory of this process and its children, and tokens."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
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

    memory = PeakMemory()

    def sample() -> None:
        while True:
            memory.look()
            cost.peak_rss_mb = memory.peak_mb
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


# Pages that processes share are counted only where what they hold grew by so much since they were counted last.
GREW = 1.02


class PeakMemory:
    """Peak resident memory of this process and its children; pages that they share count once (Linux).

    To tell the shared pages the kernel walks every page of a process and holds up its allocations meanwhile: tenths
    of a second for a model, more than a training has to spare four times a second. What processes hold in all is free
    to read and never less, so the walk is taken only at a new high of that.
    """

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._high_mb = 0.0

    def look(self) -> None:
        """Take the memory as it is now into account."""
        this = psutil.Process()
        processes = [this, *this.children(recursive=True)]
        held = _sum_mb(processes, lambda process: process.memory_info().rss)
        if len(processes) == 1:
            self.peak_mb = max(self.peak_mb, held)
        elif held > max(self.peak_mb, GREW * self._high_mb):
            self._high_mb = held
            self.peak_mb = max(self.peak_mb, _sum_mb(processes, _unshared))


def _unshared(process: psutil.Process) -> int:
    memory = process.memory_full_info()
    return getattr(memory, "pss", memory.rss)


def _sum_mb(processes: list[psutil.Process], read: Callable[[psutil.Process], int]) -> float:
    total = 0
    for process in processes:
        with suppress(psutil.Error):  # it ended between listing and reading, or belongs to somebody else
            total += read(process)
    return total / 2**20
