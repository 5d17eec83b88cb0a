"""A training that is stopped in the middle, held against one that is not."""

import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reft.errors import TrainingError
from reft.finetuning.checkpoints import last_step
from reft.finetuning.job import FinetuneJob
from reft.finetuning.launch import run_finetune


def same_after_a_stop(job: FinetuneJob, folder: Path) -> tuple[list[dict[str, float]], Path]:
    """See that losses and weights are the same, stopped or not; the metrics of the whole one, the other's output."""
    whole, resumed = [], []
    expected = run_finetune(job, folder / "whole", whole.append)

    def stop(metrics):
        if metrics["step"] == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingError, match="stopped by SIGTERM and saved"):
        run_finetune(job, folder / "job", stop)
    assert 9 <= last_step(folder / "job") < len(whole)
    output = run_finetune(job, folder / "job", resumed.append)
    assert [m["loss"] for m in resumed] == pytest.approx([m["loss"] for m in whole], rel=1e-3)
    one, other = (load_file(place / "adapter_model.safetensors") for place in (expected, output))
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], rtol=1e-3, atol=1e-5)
    return whole, output
