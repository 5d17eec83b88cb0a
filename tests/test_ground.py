"""Small parts that everything stands on: artifacts, costs, fingerprints, progress, the command line."""

import json
import subprocess
import sys
import time

import pytest

from reft import fingerprint
from reft.errors import ReftError, StorageError
from reft.runtime.cost import measured
from reft.runtime.progress import DEFAULT_RUN, RunProgress, progress
from reft.storage.artifacts import read_json, write_json
from tests.report.test_report import inputs


def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    write_json(tmp_path / "a.json", {"old": 1})
    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(StorageError, match=r"No space left on device\n.*a\.json"):
        write_json(tmp_path / "a.json", {"new": 1})
    monkeypatch.undo()
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_every_error_is_one_of_ours_and_a_built_in():
    from reft import errors

    kinds = [
        e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, ReftError) and e is not ReftError
    ]
    assert all(issubclass(kind, (ValueError, RuntimeError, OSError)) for kind in kinds)
    assert len(kinds) == 9


def test_cost_measures_time_and_the_memory_of_children():
    code = "x = bytearray(300 * 2**20); import time; time.sleep(1)"
    with measured("a stage") as cost:
        before = cost.peak_rss_mb
        subprocess.run([sys.executable, "-c", code], check=True)
    assert cost.seconds >= 1
    assert cost.peak_rss_mb > before
    assert cost.peak_rss_mb > 300


def test_fingerprints_follow_the_content(tmp_path):
    (tmp_path / "a").write_text("1")
    first = fingerprint.of_path(tmp_path)
    assert fingerprint.of_path(tmp_path) == first
    (tmp_path / "a").write_text("2")
    assert fingerprint.of_path(tmp_path) != first
    assert fingerprint.of_path("some/hub-id") == "name:some/hub-id"
    assert fingerprint.of_code("refusal") != fingerprint.of_code("teacher")


def test_progress_says_how_far_and_how_long(capsys):
    show = progress("scoring", every_seconds=0)
    show(1, 4)
    time.sleep(0.01)
    show(4, 4)
    assert "scoring: 4/4" in capsys.readouterr().err


def test_a_runs_later_stages_are_estimated_from_an_earlier_run_and_the_pace_so_far(capsys):
    run = RunProgress({**dict.fromkeys(DEFAULT_RUN, 0.0), "train_teacher": 60, "finetune": 100, "evaluate": 20})
    run.begin("train_teacher")
    assert run.left() == 120
    run.end("train_teacher", 180)
    run.begin("finetune")
    assert run.left() == 2 * 20  # 240 s against 120, with the minute that counts beforehand
    assert "finetune begins, 4:00 left of the run" in capsys.readouterr().err
    run.begin("a stage of somebody else's")
    assert run.left() == 0


def run_cli(*arguments: str, cwd=None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "reft.cli", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_the_command_line_shows_a_run_and_checks_a_profile(tmp_path):
    write_json(tmp_path / "summary.json", inputs().summary)
    shown = run_cli("show", str(tmp_path))
    assert shown.returncode == 0
    assert "ReFT student" in shown.stdout
    assert "every setting is right" in run_cli("check-config", "zenml.yaml").stdout
    assert run_cli("write-config", str(tmp_path / "mine.yaml")).returncode == 0
    assert "every setting is right" in run_cli("check-config", str(tmp_path / "mine.yaml")).stdout
    assert run_cli("write-config", str(tmp_path / "mine.yaml")).returncode == 2


def test_a_users_error_is_printed_without_a_traceback(tmp_path):
    (tmp_path / "x.yaml").write_text(json.dumps({"parameters": {"settings": {"sed": 1}}}))
    failed = run_cli("check-config", str(tmp_path / "x.yaml"))
    assert failed.returncode == 2
    assert "sed" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert run_cli("show", str(tmp_path)).returncode == 2


def test_the_cli_starts_without_the_heavy_libraries():
    code = "import sys, reft.cli; print([m for m in ('torch', 'mlflow', 'zenml', 'transformers') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
