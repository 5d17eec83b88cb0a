"""What a checkpoint holds, and what is logged on the way to it."""

import os
import shutil
import signal

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from reft.errors import TrainingError
from reft.finetuning.launch import run_finetune
from tests.factories import change, make_job


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_a_checkpoint_holds_what_trains_alone_and_each_step_logs_its_own_rate(tiny_model, tmp_path, stage):
    """The head is tied to the embedding; and the rate rises, so that one step's is not the next one's."""
    folder, seen = tmp_path / "tied", []
    shutil.copytree(tiny_model, folder)
    AutoModelForCausalLM.from_pretrained(tiny_model, tie_word_embeddings=True).save_pretrained(folder)
    job = change(
        make_job(str(folder)), epochs=12, checkpoint_every=0, zero_stage=stage, warmup_share=0.5, schedule="constant"
    )
    with pytest.raises(TrainingError, match="stopped by SIGTERM and saved"):
        run_finetune(job, tmp_path / "job", lambda m: m["step"] == 3 and os.kill(os.getpid(), signal.SIGTERM))
    saved = next((tmp_path / "job" / "checkpoints").glob("step-*/*model_states.pt"))
    names = torch.load(saved, weights_only=False)["module"].keys()
    assert names
    assert all("lora_" in name for name in names)
    run_finetune(job, tmp_path / "job", seen.append)
    assert [m["step"] for m in seen] == list(range(1, 37))
    # DeepSpeed's schedule gives the first two steps its lowest rate, and rises from there.
    rising = [0.1 + 0.9 * max(0, step - 2) / 18 for step in range(1, 21)]
    rates = [m["learning_rate"] / job.settings.learning_rate for m in seen]
    np.testing.assert_allclose(rates, rising + [1.0] * 16, rtol=1e-6)
