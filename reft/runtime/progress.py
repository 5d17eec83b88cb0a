"""Progress on long work: a bar on a terminal, a line now and then in a log, and how long the run still takes."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

Report = Callable[[int, int], None]  # (done, total)


class Show(Protocol):
    """A `Report` that also takes a word on how things stand."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


# Seconds of the stages of a default run, in the order in which they run (two cores with bfloat16 in hardware).
DEFAULT_RUN = {
    "validation": 3.0,
    "refusal_feature": 23.0,
    "sft": 100.0,
    "teacher": 420.0,
    "soft_labels": 91.0,
    "calibration": 74.0,
    "filtering": 26.0,
    "finetuning": 158.0,
    "baselines": 97.0,
    "evaluation": 64.0,
    "audit_reference": 150.0,
    "audit": 100.0,
}


# Steps that are no stages of their own at the end of a run: gate, registration, report.
CLOSING = 3
# Share of a stage from which its own bar tells how long it takes: before, starting up counts for too much.
TELLING = 0.1
# Seconds between two stages, before a run has shown its own: results are stored, the next step starts.
BETWEEN = 3.0
# Seconds after which a stage that says nothing of its own is spoken for, in a log.
SILENCE = 15.0


class RunProgress:
    """How long a run still takes: as an earlier run's stages took, at the pace of this run so far.

    Args:
        expected: seconds of the earlier run's stages. A stage that it did not have is taken for as slow as usual,
            at that run's pace.
        stages: what this run consists of.
        now: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        expected: Mapping[str, float],
        stages: Iterable[str] = tuple(DEFAULT_RUN),
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        known = [name for name in expected if name in DEFAULT_RUN]
        usual = sum(expected[name] for name in known) / (sum(DEFAULT_RUN[name] for name in known) or 1.0)
        self.expected = {name: expected.get(name, usual * DEFAULT_RUN.get(name, 0.0)) for name in stages}
        self.current = ""
        self.spent: dict[str, float] = {}
        self.reused: list[str] = []
        self._now = now
        self._begun = self._ended = self._due = 0.0
        self._gaps = [BETWEEN]
        self._over = threading.Event()

    def reuse(self, steps: Iterable[str]) -> None:
        """These steps' results are an earlier run's: say so once, and wait for none of them."""
        new = [step for step in steps if step not in self.reused]
        if new:
            self.reused += new
            say(f"reused from earlier runs: {', '.join(new)}")

    def begin(self, stage: str) -> None:
        """A stage starts. Until it ends, a line now and then says what is left where the stage itself says nothing."""
        if self._ended:
            self._gaps.append(self._now() - self._ended)
        self.current, self._begun, self._due = stage, self._now(), 0.0
        say(f"{stage} begins, {_duration(self.left())} left of the run")
        self._over.set()
        self._over = threading.Event()
        threading.Thread(target=self._keep_saying, args=(self._over,), name="progress", daemon=True).start()

    def ahead(self, seconds: float) -> None:
        """The current stage itself knows that it takes this long at least."""
        self._due = self._now() + seconds

    def end(self, stage: str, seconds: float) -> None:
        """A stage is over: how long it took tells this machine's and this job's pace."""
        self._over.set()
        self.spent[stage] = seconds
        self.current, self._ended = "", self._now()

    def left(self) -> float:
        """Seconds to the end of the run."""
        done = {*self.spent, *self.reused, self.current}
        coming = [name for name in self.expected if name not in done]
        pace, between = self.pace(), sum(self._gaps) / len(self._gaps)
        seconds = pace * sum(self.expected[name] for name in coming) + between * (len(coming) + CLOSING)
        if self.current:
            now = self._now()
            by_then = self._begun + pace * self.expected.get(self.current, 0.0)
            seconds += max(0.0, by_then - now, self._due - now)
        return seconds

    def pace(self) -> float:
        """How much slower this run is than the earlier one; a stage that is late counts before it is over."""
        taken = dict(self.spent)
        if self.current:
            least = max(self._now(), self._due) - self._begun
            if least > self.expected.get(self.current, 0.0):
                taken[self.current] = least
        known = [name for name in taken if self.expected.get(name)]
        # A tenth of the run counts as expected beforehand, lest the first stage, a second long, decide about the rest.
        tenth = sum(self.expected.values()) / 10 or 1.0
        return (sum(taken[name] for name in known) + tenth) / (sum(self.expected[name] for name in known) + tenth)

    def _keep_saying(self, over: threading.Event) -> None:
        terminal = sys.stderr.isatty()
        while not over.wait(0.5):
            if time.monotonic() - _said >= (2.0 if terminal else SILENCE):
                so_far = _duration(self._now() - self._begun)
                line = f"{self.current}: {so_far} so far, {_duration(self.left())} left of the run"
                say(line, "\r" if terminal else "\n")


_run: RunProgress | None = None
_said = 0.0  # when the last line was


def expect_run(expected: Mapping[str, float] | None = None, stages: Iterable[str] = tuple(DEFAULT_RUN)) -> None:
    """From here on say how long the run still takes.

    Args:
        expected: seconds that each stage took in the last run, if any.
        stages: those of this run.
    """
    global _run
    _run = RunProgress(expected or DEFAULT_RUN, stages)


def current_run() -> RunProgress | None:
    """The run that `expect_run` announced."""
    return _run


def progress(stage: str, every_seconds: float = 10.0, *, unit: str = "") -> Show:
    """A function to call with (done, total); it prints how far the stage is and how long it still takes.

    With a `unit`, as "rows", it also says how many of them a second were done.

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
        if unit and done > first[1]:
            rate = (done - first[1]) / max(now - first[0], 1e-9)
            line += f", {rate:.{0 if rate >= 10 else 1}f} {unit} a second"
        if done > first[1] and not finished:
            left = (now - first[0]) / (done - first[1]) * (total - done)
            line += f", about {_duration(left)} left"
            if _run and done >= TELLING * total:
                _run.ahead(left)
        if _run and _run.current and not finished:
            line += f", {_duration(_run.left())} left of the run"
        say(line, "\n" if finished or not terminal else "\r")

    return show


def say(line: str, end: str = "\n") -> None:
    """A line for whoever watches: indented, on the terminal over a line of progress."""
    global _said
    _said = time.monotonic()
    print(f"  {line}".ljust(100 if sys.stderr.isatty() else 0), end=end, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
