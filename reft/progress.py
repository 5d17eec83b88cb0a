"""Progress on long work: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable

Report = Callable[[int, int], None]  # (done, total)


def progress(stage: str, every_seconds: float = 10.0) -> Report:
    """A function to call with (done, total); it prints how far the stage is and how long it still takes.

    What is left is estimated from the second call on, since the first unit of work also pays for starting up.
    """
    started = last = time.monotonic()
    first: tuple[float, int] | None = None
    terminal = sys.stderr.isatty()

    def show(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        first = first or (now, done)
        finished = done >= total
        if not finished and now - last < (0.5 if terminal else every_seconds):
            return
        last = now
        line = f"  {stage}: {done}/{total}, {_duration(now - started)} so far"
        if done > first[1]:
            line += f", about {_duration((now - first[0]) / (done - first[1]) * (total - done))} left"
        end = "\n" if finished or not terminal else "\r"
        print(line.ljust(90) if terminal else line, end=end, file=sys.stderr, flush=True)

    return show


def _duration(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
