"""`zenml pipeline run` reads a profile as the command line does, and says what is wrong in the same words."""

import subprocess
import sys
from pathlib import Path

import pytest
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration

from reft.config.file import BESIDE

ZENML = Path(sys.executable).with_name("zenml")
HEAD = "parameters:\n  settings:\n"


def test_the_keys_of_a_run_configuration_are_zenmls():
    hooks = {name for name in PipelineRunConfiguration.model_fields if "hook" in name}
    assert set(BESIDE) == set(PipelineRunConfiguration.model_fields) - hooks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEAD + "    seed: 1\n    seed: 2\n", ["seed is given twice", "mine.yaml, line 4"]),
        (b"parameters: \xff\n", ["not UTF-8 text: byte 0xff", "mine.yaml, line 1"]),
        (HEAD + "    teacher: {epoch: 1}\n", ["teacher.epoch (line 3): no such setting; did you mean epochs?"]),
        (
            HEAD + "    tracking: {registered_name: a/b}\n    data: {user: nowhere.jsonl}\n",
            [
                "tracking.registered_name: the MLflow registry refuses this name",
                "no such file or folder: nowhere.jsonl",
            ],
        ),
    ],
)
def test_a_wrong_profile_is_told_without_a_traceback(tmp_path, content, said):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    command = [str(ZENML), "pipeline", "run", "reft_pipeline", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode
    told = done.stderr[done.stderr.index("error: ") :]
    assert all(words in told for words in said)
    assert "Traceback" not in done.stdout + done.stderr
    assert len(told.splitlines()) <= 4
