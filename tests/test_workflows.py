"""The GitHub workflows: safe by an auditor's word, and their own shell lines run for real."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

WORKFLOWS = sorted(Path(".github/workflows").glob("*.yml"))


def steps(path):
    jobs = yaml.safe_load(path.read_text())["jobs"]
    return [(name, step) for name, job in jobs.items() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_actions_are_pinned_and_rights_are_few(path):
    found = yaml.safe_load(path.read_text())
    assert found["permissions"] == {"contents": "read"}
    assert found["concurrency"]
    for _, step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"])
        # What a caller names reaches a shell through the environment alone, never as part of its text.
        assert "${{" not in step.get("run", "")


def test_an_auditor_finds_nothing():
    auditor = Path(sys.executable).with_name("zizmor")
    done = subprocess.run([auditor, "--offline", *WORKFLOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("retraining\nversion 12 passed its gate: reft promote s --version 12\n", "version=12\n"),
        ("nothing to do\n", ""),
        ("version 3 has not passed its gate: harmful score at most 0.1\nversion 2 serves on\n", ""),
    ],
)
def test_the_version_is_read_from_what_retraining_said(tmp_path, said, expected):
    (line,) = [step["run"] for _, step in steps(Path(".github/workflows/retrain.yml")) if step.get("id") == "made"]
    (tmp_path / "retrain.txt").write_text(said)
    (tmp_path / "output").touch()
    subprocess.run(
        ["bash", "-euc", line], cwd=tmp_path, env={"GITHUB_OUTPUT": "output", "PATH": "/usr/bin:/bin"}, check=True
    )
    assert (tmp_path / "output").read_text() == expected


@pytest.mark.parametrize("script", ["ci/retrain", "ci/promote", ".ci/run"])
def test_the_scripts_are_bash(script):
    subprocess.run(["bash", "-n", script], check=True)
