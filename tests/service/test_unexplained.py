"""A pipeline that is killed, or fails for no reason that it names: perhaps not the job's fault; it is tried again."""

import sys

import pytest

from reft.service.jobs import states, tries
from reft.service.jobs.folders import folder_of
from reft.service.service import open_service
from tests.service.finished_runs import work_on
from tests.service.serving import add_job, give_rows, settings_for

# Counts its starts beside the jobs' folders, says so much and fails.
FAILS = """
import pathlib, sys
with (pathlib.Path(sys.argv[-1]).parent.parent.parent / "starts").open("a") as starts:
    starts.write("x")
sys.exit({said!r})
"""
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
BEGUN = "  validation begins, 9:35 left of the run\n"
TRACEBACK = (
    "Traceback (most recent call last):\n  File x\nAttributeError: 'NoneType' object has no attribute 'update'\n"
)
ERROR = "error: the profile names no model\n  where: run.yaml\n  remedy: name one\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "starts", "code"),
    [
        pytest.param(TRACEBACK, tries.MOST[tries.FAULTS], "server_error", id="before any work"),
        pytest.param(BEGUN + TRACEBACK, tries.MOST[tries.FAULTS], "server_error", id="at work"),
        pytest.param(ERROR, 1, "screening_failed", id="explained: would fail again"),
    ],
)
def test_an_unexplained_failure_is_tried_again_by_another_worker(tiny_model, tmp_path, said, starts, code):
    command = [sys.executable, "-c", FAILS.format(said=said)]
    service = open_service(settings_for(tmp_path, tiny_model, pipeline=command, stop=["false"]))
    add_job(service, "ftjob-x")
    give_rows(service, "ftjob-x")
    for _ in range(starts - 1):
        waits = work_on(service, "ftjob-x")
        assert waits.status == states.RUNNING
        assert tries.is_put_off(waits)
    ended = work_on(service, "ftjob-x")
    counted = folder_of(service.settings, "ftjob-x").root.parent.parent / "starts"
    assert counted.read_text() == "x" * starts
    assert ended.status == states.FAILED
    assert ended.error is not None
    assert ended.error["code"] == code
    service.database.close()


@pytest.mark.slow
def test_so_is_a_run_that_is_killed_and_more_often(tiny_model, tmp_path, monkeypatch):
    assert tries.MOST[tries.KILLS] > tries.MOST[tries.FAULTS]
    monkeypatch.setitem(tries.MOST, tries.KILLS, 2)
    service = open_service(settings_for(tmp_path, tiny_model, pipeline=[sys.executable, "-c", DIES], stop=["false"]))
    add_job(service, "ftjob-x")
    give_rows(service, "ftjob-x")
    waits = work_on(service, "ftjob-x")
    assert waits.status == states.RUNNING
    assert tries.is_put_off(waits)
    ended = work_on(service, "ftjob-x")
    assert ended.error is not None
    assert (ended.status, ended.error["code"]) == (states.FAILED, "server_error")
    service.database.close()
