"""What a command takes with all the processes that it starts."""

import os
import resource
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

GREW = 1.02  # a new high, from which on shared pages are counted anew: the kernel is slow at it


def cpu_of_children() -> float:
    """Seconds of all cores that processes which have ended took: beside others, wall clocks say little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tree_mb(pid: int, than: float) -> tuple[float, float]:
    """What a process and all below it hold: with shared pages counted for each, and, where that is more, once."""
    held, processes = 0, []
    with suppress(psutil.Error):
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in processes:
        with suppress(psutil.Error):
            held += process.memory_info().rss
    once = 0
    if held > than * 2**20:
        for process in processes:
            with suppress(psutil.Error):
                memory = process.memory_full_info()
                once += getattr(memory, "pss", memory.rss)
    return held / 2**20, once / 2**20


def measure(command: list[str], more: Mapping[str, str], log: Path, *, cwd: Path | None = None) -> dict[str, float]:
    """Seconds, processor seconds and peak memory of a command with all that it starts.

    Args:
        more: of the environment; it has none of this process's PYTHONPATH.
        cwd: where it runs; None: here. What Python finds there comes before what is installed.

    Raises:
        RuntimeError: it failed.
    """
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    peak = high = 0.0
    started, used = time.monotonic(), cpu_of_children()
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env={**clean, **more}, cwd=cwd)
        while process.poll() is None:
            held, once = tree_mb(process.pid, max(peak, GREW * high))
            high, peak = (held, max(peak, once)) if once else (high, peak)
            time.sleep(0.1)
    taken = {"seconds": time.monotonic() - started, "cpu_seconds": cpu_of_children() - used, "peak_mb": peak}
    if process.returncode not in (0, 3):  # 3: `reft validate` has quarantined rows
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    return taken
