"""A command that is told to stop says so, leaves nothing half-made, and works when it is started again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.factories import build_scorer, hear_interrupts, row, write_jsonl

ROOT = Path(__file__).parents[2]


def start(folder, *command):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")}
    return subprocess.Popen(
        [sys.executable, "-m", "reft.cli", *map(str, command)],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=hear_interrupts,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["validate", "scan"])
def test_a_signal_ends_a_command_cleanly(tmp_path, tiny_model, name, number):
    (tmp_path / "tmp").mkdir()
    rows = write_jsonl(tmp_path / "rows.jsonl", [row(f"question {i}", "answer") for i in range(30_000)])
    if name == "scan":
        (tmp_path / "made").mkdir()
        options, begun = ["--teacher", build_scorer(tmp_path / "made", tiny_model), "--fpr", "0.05"], ".scan-*"
    else:
        profile = {"parameters": {"settings": {"model": {"name": tiny_model}, "data": {"task_test": None}}}}
        (tmp_path / "run.yaml").write_text(json.dumps(profile))
        options, begun = ["--config", tmp_path / "run.yaml"], ".reft-scratch-validate-*"
    process = start(tmp_path, name, rows, "--out", tmp_path / "out", *options)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob(begun)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}: start the same command again: scan and validate resume" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "out").glob("[!.]*"))  # what it left is hidden, for the next start
    assert not list((tmp_path / "tmp").glob("reft-*"))
    write_jsonl(rows, [row(f"question {i}", "answer") for i in range(60)])
    again = start(tmp_path, name, rows, "--out", tmp_path / "out", *options)
    again.communicate(timeout=120)
    assert again.returncode in (0, 3)
    assert not list((tmp_path / "out").glob(".reft-scratch-*"))


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "lines"), [({}, 1), ({"RANK": "1"}, 0)])
def test_of_several_ranks_none_speaks_of_a_signal(rank, lines):
    code = "import os, signal; from reft.runtime.processes import stop_on_signals; stop_on_signals()\n"
    code += "os.kill(os.getpid(), signal.SIGINT)"
    environment = {name: value for name, value in os.environ.items() if name != "RANK"} | rank
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("stopped by SIGINT")) == (130, lines)
