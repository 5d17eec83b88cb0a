"""A flag that signals' handlers set: at any moment, and again while they do."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

import pytest

from reft.runtime.flags import Flag
from reft.tracking import guard


@contextmanager
def handling(number: int, handle: Callable[[int, FrameType | None], object]) -> Generator[None]:
    """With this handler of a signal, and the one before it afterwards."""
    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)


def signalled_at_every_step(number: int, act: Callable[[], object]) -> int:
    """Do this, with a signal after every line of what it calls, but for those of its handler; how many there were.

    Raises:
        TimeoutError: it waits for itself.
    """
    told = 0

    def trace(_frame: FrameType, event: str, _: object) -> object:
        nonlocal told
        if event == "line":
            sys.settrace(None)
            told += 1
            signal.raise_signal(number)
            sys.settrace(trace)
        return trace

    def late(*_: object) -> None:
        raise TimeoutError("it waits for itself")

    before = sys.gettrace()  # coverage's, in CI
    with handling(signal.SIGALRM, late):
        signal.setitimer(signal.ITIMER_REAL, 20)
        sys.settrace(trace)  # of the frames that begin from here on; this one keeps its own, and ends ours
        try:
            act()
        finally:
            sys.settrace(before)
            signal.setitimer(signal.ITIMER_REAL, 0)
    return told


@pytest.mark.parametrize("act", [Flag.set, lambda flag: flag.wait(30)], ids=["set", "wait"])
def test_a_flag_is_set_by_signals_that_interrupt_its_own_methods(act):
    flag = Flag()
    with handling(signal.SIGUSR1, lambda *_: flag.set()):
        assert signalled_at_every_step(signal.SIGUSR1, lambda: act(flag))
    assert flag.is_set()
    assert flag.wait(0)


def test_whoever_waits_for_a_flag_goes_on_when_it_is_set():
    flag, seen = Flag(), []
    waiting = [threading.Thread(target=lambda: seen.append(flag.wait(30))) for _ in range(3)]
    for one in waiting:
        one.start()
    assert not flag.wait(0.01)
    assert not flag.is_set()
    flag.set()
    for one in waiting:
        one.join(20)
    assert seen == [True] * 3


def test_a_server_told_to_end_again_while_it_is_being_told_ends(monkeypatch):
    ending, told, left = Flag(), [], []
    monkeypatch.setattr(guard, "_ending", ending)
    with handling(signal.SIGTERM, lambda *_: told.append(1)), handling(signal.SIGINT, signal.SIG_IGN):
        guard._end_soon_when_told_to()

        def end() -> None:
            signal.raise_signal(signal.SIGTERM)
            left.append(signal.getitimer(signal.ITIMER_REAL)[0])

        signalled_at_every_step(signal.SIGTERM, end)
    assert ending.is_set()
    assert len(told) > 1
    assert 0 < left[0] <= guard.END_SECONDS


def test_a_flag_waits_no_longer_than_it_is_asked_to():
    started = time.monotonic()
    assert not Flag().wait(0.05)
    assert time.monotonic() - started >= 0.04
