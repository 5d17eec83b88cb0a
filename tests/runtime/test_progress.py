"""How far a stage is, and how long the run will take."""

import threading
import time
from types import SimpleNamespace

import pytest

from reft.runtime import progress as module
from reft.runtime.progress import BETWEEN, CLOSING, DEFAULT_RUN, RunProgress, expect_run, progress

# Two runs of one profile, one after another, on two shared cores.
RECORDED = {
    "validation": 1.0, "refusal_feature": 10.0, "sft": 71.0, "teacher": 135.0, "soft_labels": 45.0, "calibration": 13.0,
    "filtering": 10.0, "finetuning": 232.0, "baselines": 45.0, "evaluation": 52.0, "audit_reference": 90.0,
    "audit": 70.0,
}  # fmt: skip
SLOWER = {"validation": 1.4, "refusal_feature": 15, "sft": 117, "teacher": 214, "soft_labels": 72, "calibration": 20,
          "filtering": 16, "finetuning": 381, "baselines": 70, "evaluation": 80,
          "audit_reference": 140, "audit": 105}  # fmt: skip

BARS = {"sft", "teacher", "finetuning"}  # stages that know for most of their time how long they take


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def a_run(clock):
    """Makes runs whose stages end with the test."""
    runs = []

    def make(expected, stages=tuple(DEFAULT_RUN)):
        runs.append(RunProgress(expected, stages, now=clock))
        return runs[-1]

    yield make
    for run in runs:
        run.end(run.current, 0.0)


@pytest.fixture(autouse=True)
def no_run_before_nor_after(monkeypatch):
    """A stage still open when its test ends would speak on the standard error of the tests after."""
    monkeypatch.setattr(module, "_run", None)
    yield
    speaking = [thread for thread in threading.enumerate() if thread.name == "progress"]
    for thread in speaking:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in speaking)


def replay(run, taken, clock, *, between=3.0, reused=()):
    """Let the stages pass as recorded; gives (estimated, true) seconds left, every five seconds of each stage."""
    stages = [stage for stage in taken if stage not in reused]
    last = clock.seconds + sum(taken[stage] + between for stage in stages) + CLOSING * between - between
    found = []
    run.reuse(reused)
    for stage in stages:
        run.begin(stage)
        over = clock.seconds + taken[stage]
        while clock.seconds < over:
            if stage in BARS and over - clock.seconds < 0.9 * taken[stage]:
                run.ahead(over - clock.seconds)
            found.append((run.left(), last - clock.seconds))
            clock.seconds += min(5.0, over - clock.seconds)
        run.end(stage, taken[stage])
        clock.seconds += between
    return found


def off(found):
    """How far the estimates were off, by the share of the truth; the last seconds are rounded."""
    return [abs(estimated - true) / true for estimated, true in found if true > 20]


def test_progress_says_how_far_and_how_long(capsys):
    show = progress("scoring", every_seconds=0)
    show(1, 4)
    time.sleep(0.01)
    show(4, 4)
    assert "scoring: 4/4" in capsys.readouterr().err


def test_a_second_run_that_takes_as_long_is_known_from_its_first_second(clock):
    found = replay(RunProgress(RECORDED, now=clock), RECORDED, clock)
    assert len(found) > 100
    assert max(off(found)) < 0.05


def test_where_a_run_is_slower_than_the_last_one_it_is_learnt_before_long(clock):
    """Sixty per cent slower: no estimate can know at first, but from the first long stage on it is right."""
    found = replay(RunProgress(RECORDED, now=clock), SLOWER, clock)
    true = found[0][1]
    assert max(off([pair for pair in found if pair[1] < 0.85 * true])) < 0.3


def test_what_is_reused_is_waited_for_by_nobody(clock, capsys):
    reused = ("validation", "refusal_feature", "teacher", "soft_labels")
    run = RunProgress(RECORDED, now=clock)
    found = replay(run, RECORDED, clock, reused=reused)
    assert max(off(found)) < 0.05
    assert "reused from earlier runs: validation, refusal_feature, teacher, soft_labels\n" in capsys.readouterr().err
    run.reuse(reused)
    assert capsys.readouterr().err == ""  # said once


def test_what_the_run_does_not_have_is_not_counted(clock):
    run = RunProgress(RECORDED, ["finetuning", "evaluation"], now=clock)
    assert run.left() == RECORDED["finetuning"] + RECORDED["evaluation"] + BETWEEN * (2 + CLOSING)


def test_a_stage_that_the_last_run_lacked_is_taken_for_as_slow_as_usual(clock):
    last = {name: seconds / 10 for name, seconds in DEFAULT_RUN.items() if name != "sft"}
    assert RunProgress(last, now=clock).expected["sft"] == pytest.approx(DEFAULT_RUN["sft"] / 10)


def test_time_left_goes_down_while_a_stage_says_nothing_and_a_late_one_slows_the_rest(clock, a_run):
    run = a_run({"teacher": 60.0, "finetuning": 100.0}, ["teacher", "finetuning"])
    run.begin("teacher")
    before = run.left()
    clock.seconds += 30
    assert run.left() == pytest.approx(before - 30)
    clock.seconds += 90  # twice as long as expected by now
    assert run.pace() == pytest.approx((120 + 16) / (60 + 16))
    assert run.left() > 100 * 1.7


def test_what_a_stages_own_bar_foresees_counts(clock, a_run):
    run = a_run({"teacher": 60.0, "finetuning": 100.0}, ["teacher", "finetuning"])
    run.begin("teacher")
    clock.seconds += 30
    run.ahead(150)
    assert run.left() >= 150 + 100 * run.pace()
    assert run.pace() > 2


def test_a_bar_says_what_is_left_of_the_run(capsys):
    expect_run(dict.fromkeys(DEFAULT_RUN, 600.0), ["teacher", "finetuning"])
    module.current_run().begin("teacher")
    show = progress("training the teacher", every_seconds=0)
    for done in (1, 2):
        show(done, 4)
    module.current_run().end("teacher", 1.0)
    begun, first, _ = capsys.readouterr().err.splitlines()
    assert begun.startswith("  teacher begins, 20:1")
    assert first.startswith("  training the teacher: 1/4, 0:00 so far, 20:1")
    assert first.endswith(" left of the run")


@pytest.mark.slow
def test_a_stage_without_a_bar_is_not_silent(capsys, monkeypatch):
    monkeypatch.setattr(module, "SILENCE", 0.5)
    run = RunProgress({"teacher": 60.0}, ["teacher"])
    run.begin("teacher")
    time.sleep(2.5)
    run.end("teacher", 2.5)
    lines = [line for line in capsys.readouterr().err.splitlines() if "so far" in line]
    left = [line.split()[4] for line in lines]
    assert len(left) >= 2
    assert left == sorted(left, reverse=True)
    assert left[0] != left[-1]


def test_the_first_rows_of_a_stage_do_not_frighten(clock, a_run, monkeypatch):
    """A stage's first batch pays for starting up: at its pace this one would take a hundred times as long."""
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(module, "_run", run := a_run({"teacher": 60, "sft": 60}, ("teacher", "sft")))
    run.begin("teacher")
    show = progress("reading")
    for done in (1, 2):
        clock.seconds += 10
        show(done, 1000)
    assert run.left() < 200
    clock.seconds += 80
    show(200, 1000)
    assert run.left() > 300


def test_a_slow_rate_is_not_zero(capsys, clock, monkeypatch):
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    show = progress("calibrating", every_seconds=0, unit="rows")
    for done in (0, 2, 2000):
        show(done, 3000)
        clock.seconds += 5
    lines = capsys.readouterr().err.splitlines()
    assert "0.4 rows a second" in lines[1]
    assert "200 rows a second" in lines[2]
