"""Progress on long work: a bar on a terminal, a line now and then in a log, and how long the run still takes."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

Report = Callable[[int, int], None]  # (done, total)


class Show(Protocol):
    """A `Report` that also takes a word on how things stand."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


# Seconds of the stages of a default run, in the order in which they run (README: two shared cores).
DEFAULT_RUN = {
    "validation": 1.0,
    "refusal_feature": 10.0,
    "sft": 71.0,
    "teacher": 135.0,
    "soft_labels": 45.0,
    "filtering": 23.0,
    "finetuning": 232.0,
    "evaluation": 97.0,
}


class RunProgress:
    """How long a run's later stages will take: as in an earlier run, at the pace of this run's stages so far."""

    def __init__(self, expected: Mapping[str, float]) -> None:
        self.expected = {name: expected.get(name, 0.0) for name in DEFAULT_RUN}
        self.current = ""
        self.spent: dict[str, float] = {}

    def begin(self, stage: str) -> None:
        """A stage starts; those before it in the order are over, whether they ran or were cached."""
        self.current = stage
        say(f"{stage} begins, {_duration(self.left(self.expected.get(stage, 0.0)))} left of the run")

    def end(self, stage: str, seconds: float) -> None:
        """A stage is over: how long it took tells this machine's and this job's pace."""
        self.spent[stage] = seconds
        self.current = ""

    def left(self, of_current: float = 0.0) -> float:
        """Seconds for all stages after the current one, and `of_current` expected seconds of that one."""
        names = list(self.expected)
        later = names[names.index(self.current) + 1 :] if self.current in names else []
        # A minute as expected counts beforehand, lest the first stage, a second long, decide about the rest.
        known = [name for name in self.spent if self.expected.get(name)]
        pace = (sum(map(self.spent.__getitem__, known)) + 60) / (sum(map(self.expected.__getitem__, known)) + 60)
        return pace * (of_current + sum(self.expected[name] for name in later))


_run: RunProgress | None = None


def expect_run(expected: Mapping[str, float] | None = None) -> None:
    """From here on say how long the run still takes; `expected` is what each stage took in the last run, if any."""
    global _run
    _run = RunProgress(expected or DEFAULT_RUN)


def current_run() -> RunProgress | None:
    """The run that `expect_run` announced."""
    return _run


def progress(stage: str, every_seconds: float = 10.0) -> Show:
    """A function to call with (done, total); it prints how far the stage is and how long it still takes.

    What is left is estimated from the second call on, since the first unit of work also pays for starting up.
    """
    started = last = time.monotonic()
    first: tuple[float, int] | None = None
    terminal = sys.stderr.isatty()

    def show(done: int, total: int, note: str = "") -> None:
        nonlocal last, first
        now = time.monotonic()
        first = first or (now, done)
        finished = done >= total
        if not finished and now - last < (0.5 if terminal else every_seconds):
            return
        last = now
        line = f"{stage}: {done}/{total}, {f'{note}, ' if note else ''}{_duration(now - started)} so far"
        if done > first[1] and not finished:
            line += f", about {_duration((now - first[0]) / (done - first[1]) * (total - done))} left"
        if _run and not finished and (rest := _run.left()) >= 1:
            line += f", then {_duration(rest)} for the rest of the run"
        say(line, "\n" if finished or not terminal else "\r")

    return show


def say(line: str, end: str = "\n") -> None:
    """A line for whoever watches: indented, on the terminal over a line of progress."""
    print(f"  {line}".ljust(100 if sys.stderr.isatty() else 0), end=end, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
