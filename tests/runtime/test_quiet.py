"""What reaches the terminal of a run, and what goes into its log alone."""

import io
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from reft.errors import DataFormatError
from reft.moved import GOES
from reft.runtime.quiet import loud_again, quiet_terminal, stay_quiet


@pytest.fixture
def terminal():
    """What the root logger's handler shows."""
    shown, level = io.StringIO(), logging.root.level
    handler = logging.StreamHandler(shown)
    logging.root.addHandler(handler)
    yield shown
    loud_again()
    logging.root.removeHandler(handler)
    logging.root.setLevel(level)


def keeping_its_lines(name: str, stream: io.StringIO) -> logging.Logger:
    """A library's logger as MLflow and DeepSpeed make theirs: with a handler of its own, away from the root."""
    logger = logging.getLogger(name)
    logger.handlers, logger.propagate = [logging.StreamHandler(stream)], False
    logger.setLevel(logging.INFO)
    return logger


def test_what_libraries_say_goes_into_the_file_alone(tmp_path, terminal):
    own = io.StringIO()
    early = keeping_its_lines("early_library", own)
    path = quiet_terminal(tmp_path / "logs", also="Step `")
    assert path is not None
    logging.getLogger("zenml.somewhere").info("Using stack")
    logging.getLogger("zenml.somewhere").warning("Failed to disable autologging")
    early.info("Started monitoring")
    late = keeping_its_lines("late_library", own)
    stay_quiet()
    stay_quiet()
    late.info("Skip logging")
    assert terminal.getvalue() == own.getvalue() == ""
    loud_again()
    lines = [line.split(": ", 1)[1] for line in path.read_text().splitlines()]
    assert lines == ["Using stack", "Failed to disable autologging", "Started monitoring", "Skip logging"]


def test_errors_our_own_lines_and_named_ones_reach_the_terminal(tmp_path, terminal):
    path = quiet_terminal(tmp_path, also="Step `")
    logging.getLogger("zenml.somewhere").info("Step `teacher` has started.")
    logging.getLogger("zenml.somewhere").error("Failed to run step")
    logging.getLogger("reft.cluster.run").warning("started again")
    logging.getLogger("refting").warning("a stranger with a name like ours")
    assert terminal.getvalue().splitlines() == [
        "Step `teacher` has started.", "Failed to run step", "started again",
    ]  # fmt: skip
    assert path is not None
    assert len(path.read_text().splitlines()) == 4


def test_a_users_error_comes_without_a_traceback_and_any_other_with_one(tmp_path, terminal, capsys, monkeypatch):
    others = []
    monkeypatch.setattr(sys, "excepthook", lambda *raised: others.append(raised))
    path = quiet_terminal(tmp_path)
    for error in (DataFormatError("no such file"), OSError("disk full")):
        try:
            raise error
        except (OSError, ValueError):
            logging.getLogger("zenml.somewhere").exception("Step failed: %s", error)
            sys.excepthook(*sys.exc_info())
    assert "error: no such file" in capsys.readouterr().err
    assert [kind for kind, *_ in others] == [OSError]
    assert "no such file" not in terminal.getvalue()
    assert "disk full" in terminal.getvalue()
    assert path is not None
    assert path.read_text().count("Traceback") == 2


def test_a_setting_that_goes_is_warned_of_on_the_terminal(tmp_path, terminal):
    path = quiet_terminal(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)  # pytest catches warnings itself
        warnings.warn("a library changes", FutureWarning, 1)
        warnings.warn(f"the setting a is called b now; the old name {GOES}", FutureWarning, 1)
        logging.captureWarnings(False)
    assert "called b" in terminal.getvalue()
    assert "a library changes" not in terminal.getvalue()
    assert path is not None
    assert "a library changes" in path.read_text()


def test_the_path_is_said_once_and_a_folder_that_cannot_be_written_changes_nothing(tmp_path, terminal, capsys):
    (tmp_path / "file").touch()
    assert quiet_terminal(tmp_path / "file") is None
    logging.getLogger("zenml.somewhere").warning("still there")
    assert "still there" in terminal.getvalue()
    path = quiet_terminal(tmp_path / "logs")
    assert not (tmp_path / "logs").exists()  # nothing is logged yet
    for _ in range(2):
        logging.getLogger("zenml.somewhere").warning("noise")
    assert capsys.readouterr().err.count(str(path)) == 1


def test_our_own_lines_are_shown_where_nobody_set_up_logging(tmp_path, capsys):
    root = logging.root
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    try:
        quiet_terminal(tmp_path)
        logging.getLogger("reft.cluster.run").warning("started again")
        logging.getLogger("zenml.somewhere").warning("noise")
        loud_again()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    shown = capsys.readouterr().err
    assert "started again" in shown
    assert "noise" not in shown


def test_a_disk_that_is_full_costs_the_log_alone(tmp_path, terminal):  # noqa: ARG001
    path = quiet_terminal(tmp_path)
    assert path is not None
    path.symlink_to("/dev/full")
    logging.getLogger("zenml.somewhere").warning("noise")


def test_bars_are_turned_off_but_a_users_own_word_holds(tmp_path, monkeypatch, terminal):  # noqa: ARG001
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "0")
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    quiet_terminal(tmp_path)
    assert os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] == "0"
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"


TINY = """
import logging, warnings
from pipelines.terminal import quiet
quiet()
from zenml import pipeline, step

@step
def one() -> int:
    warnings.warn("a library changes", FutureWarning)
    logging.getLogger("somebody").warning("noise")
    return 1

@step(enable_cache=False)
def two(x: int) -> None:
    raise ValueError("this reaches the user")

@pipeline
def tiny() -> None:
    two(one())

tiny()
"""


@pytest.mark.slow
def test_a_run_under_zenml_shows_steps_and_errors_alone(tmp_path):
    (tmp_path / "tiny.py").write_text(TINY)
    ours = {
        "ZENML_CONFIG_PATH": str(tmp_path / "zenml"),
        "PYTHONPATH": str(Path.cwd()),
        "ZENML_LOGGING_VERBOSITY": "WARN",
    }
    done = subprocess.run(
        [sys.executable, "tiny.py"],
        cwd=tmp_path,
        env={**os.environ, **ours},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "this reaches the user" in said
    assert "has started" in said
    assert "noise" not in said
    assert "a library changes" not in said
    (log,) = (tmp_path / ".reft" / "logs").glob("*.log")
    assert said.count(log.name) == 1
    assert "noise" in log.read_text()
    assert "a library changes" in log.read_text()
