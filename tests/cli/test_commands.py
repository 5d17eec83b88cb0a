"""The command line as people call it."""

import json
import subprocess
import sys

import pytest

from reft.storage.artifacts import write_json
from tests.factories import run_result

pytestmark = pytest.mark.slow  # each starts a process


def run_cli(*arguments: str, cwd=None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "reft.cli", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_the_command_line_shows_a_run_and_checks_a_profile(tmp_path):
    write_json(tmp_path / "summary.json", run_result().summary)
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
