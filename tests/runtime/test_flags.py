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


@contextmanager
def signalled_at_every_step(number: int) -> Generator[list[int]]:
    """A signal after every line of what the block calls, but for those of its handler; too long a wait is an error."""
    told: list[int] = []

    def trace(frame: FrameType, event: str, _: object) -> object:
        if event == "line":
            sys.settrace(None)
            told.append(frame.f_lineno)
            signal.raise_signal(number)
            sys.settrace(trace)
        return trace

    def late(*_: object) -> None:
        raise TimeoutError("it waits for itself")

    with handling(signal.SIGALRM, late):
        signal.setitimer(signal.ITIMER_REAL, 20)
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            yield told
        finally:
            sys.settrace(before)
            signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.mark.parametrize("act", [Flag.set, lambda flag: flag.wait(30)], ids=["set", "wait"])
def test_a_flag_is_set_by_signals_that_interrupt_its_own_methods(act):
    flag = Flag()
    with handling(signal.SIGUSR1, lambda *_: flag.set()), signalled_at_every_step(signal.SIGUSR1) as told:
        act(flag)
    assert told
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
    ending, told = Flag(), []
    monkeypatch.setattr(guard, "_ending", ending)
    with handling(signal.SIGTERM, lambda *_: told.append(1)), handling(signal.SIGINT, signal.SIG_IGN):
        guard._end_soon_when_told_to()
        with signalled_at_every_step(signal.SIGTERM):
            signal.raise_signal(signal.SIGTERM)
            left = signal.getitimer(signal.ITIMER_REAL)[0]
    assert ending.is_set()
    assert len(told) > 1
    assert 0 < left <= guard.END_SECONDS


def test_a_flag_waits_no_longer_than_it_is_asked_to():
    started = time.monotonic()
    assert not Flag().wait(0.05)
    assert time.monotonic() - started >= 0.04
