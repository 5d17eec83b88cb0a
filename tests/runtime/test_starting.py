"""What a start loads: seconds of every run and every command, also of those that then reuse all."""

import subprocess
import sys

import pytest

HEAVY = {"transformers.modeling_utils", "peft", "deepspeed", "great_expectations"}


@pytest.mark.slow
def test_the_pipeline_is_named_without_loading_what_runs_models():
    code = f"import sys, pipelines.reft; print(sorted({HEAVY} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
