"""What a start loads: seconds of every run and every command, also of those that then reuse all."""

import subprocess
import sys

import pytest

HEAVY = {
    "transformers.modeling_utils", "transformers.core_model_loading", "peft", "accelerate", "deepspeed",
    "great_expectations", "matplotlib",
}  # fmt: skip


@pytest.mark.slow
def test_the_pipeline_is_named_without_loading_what_runs_models():
    assert loaded_by("import pipelines.reft") == "[]"


@pytest.mark.slow
def test_a_run_is_checked_before_its_first_step_without_loading_what_runs_models(tiny_model):
    names = {"model": {"name": tiny_model, "chat_template": "own"}}
    lines = (
        "import pipelines.reft",
        "from reft.config import parse_settings",
        "from reft.validation.profile import missing",
    )
    assert loaded_by(*lines, f"assert missing(parse_settings({names})) == []") == "[]"


def loaded_by(*lines: str) -> str:
    """What of `HEAVY` these lines load, in a process of their own."""
    code = "\n".join(["import sys", *lines, f"print(sorted({HEAVY} & {{*sys.modules}}))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]
