"""A pipeline that fails by no fault that it can explain: perhaps not the job's, so that it is tried again."""

import sys

import pytest

from reft.service.jobs import states, worker
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
BEGUN = "  validation begins, 9:35 left of the run\n"
TRACEBACK = (
    "Traceback (most recent call last):\n  File x\nAttributeError: 'NoneType' object has no attribute 'update'\n"
)
ERROR = "error: the profile names no model\n  where: run.yaml\n  remedy: name one\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "starts", "code"),
    [
        pytest.param(TRACEBACK, worker.MOST_FAULTS, "server_error", id="before any work"),
        pytest.param(BEGUN + TRACEBACK, worker.MOST_FAULTS, "server_error", id="at work"),
        pytest.param(ERROR, 1, "screening_failed", id="explained: would fail again"),
    ],
)
def test_an_unexplained_failure_is_tried_again(tiny_model, tmp_path, monkeypatch, said, starts, code):
    monkeypatch.setattr(worker, "APART", 0.01)
    command = [sys.executable, "-c", FAILS.format(said=said)]
    service = open_service(settings_for(tmp_path, tiny_model, pipeline=command, stop=["false"]))
    add_job(service, "ftjob-x")
    give_rows(service, "ftjob-x")
    ended = work_on(service, "ftjob-x")
    counted = folder_of(service.settings, "ftjob-x").root.parent.parent / "starts"
    assert counted.read_text() == "x" * starts
    assert ended.status == states.FAILED
    assert ended.error is not None
    assert ended.error["code"] == code
    service.database.close()
