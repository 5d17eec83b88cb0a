"""How far a stage is, and how long the run will take."""

import time

from reft.runtime.progress import DEFAULT_RUN, RunProgress, progress


def test_progress_says_how_far_and_how_long(capsys):
    show = progress("scoring", every_seconds=0)
    show(1, 4)
    time.sleep(0.01)
    show(4, 4)
    assert "scoring: 4/4" in capsys.readouterr().err


def test_a_runs_later_stages_are_estimated_from_an_earlier_run_and_the_pace_so_far(capsys):
    run = RunProgress({**dict.fromkeys(DEFAULT_RUN, 0.0), "teacher": 60, "finetuning": 100, "evaluation": 20})
    run.begin("teacher")
    assert run.left() == 120
    run.end("teacher", 180)
    run.begin("finetuning")
    assert run.left() == 2 * 20  # 240 s against 120, with the minute that counts beforehand
    assert "finetuning begins, 4:00 left of the run" in capsys.readouterr().err
    run.begin("a stage of somebody else's")
    assert run.left() == 0
