"""What a checkpoint holds, and what is logged on the way to it."""

import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from reft.errors import TrainingError
from reft.finetuning.launch import run_finetune
from tests.factories import change, make_job
from tests.finetuning.resuming import same_after_a_stop


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
    rising = [0.1 + 0.9 * (step - 1) / 18 for step in range(1, 19)]
    rates = [m["learning_rate"] / job.settings.learning_rate for m in seen]
    np.testing.assert_allclose(rates, rising + [1.0] * 18, rtol=1e-6)


@pytest.mark.slow
def test_the_only_step_of_a_short_job_moves_the_weights(job, tmp_path):
    """At its full rate: with the default schedule DeepSpeed's first one would be 0, or that of a warm-up."""
    seen = []
    short = change(replace(job, user=job.user[:4], row_numbers=job.row_numbers[:4]), epochs=1)
    output = run_finetune(short, tmp_path / "job", seen.append)
    assert [m["step"] for m in seen] == [1]
    assert seen[0]["learning_rate"] == job.settings.learning_rate
    weights = load_file(output / "adapter_model.safetensors")
    assert all(weight.abs().max() > 0 for name, weight in weights.items() if ".lora_B." in name)


@pytest.mark.slow
def test_a_resumed_cosine_goes_on_where_it_was(job, tmp_path):
    """Where another number of processes takes the checkpoint up."""
    whole, seen = [], []
    long = change(job, epochs=8, checkpoint_every=0, processes=2)  # 24 steps: the signal may arrive some steps late
    run_finetune(long, tmp_path / "whole", whole.append)
    with pytest.raises(TrainingError, match="stopped by SIGTERM and saved"):
        run_finetune(long, tmp_path / "job", lambda m: m["step"] == 3 and os.kill(os.getpid(), signal.SIGTERM))
    run_finetune(change(long, processes=1), tmp_path / "job", seen.append)
    np.testing.assert_allclose([m["learning_rate"] for m in seen], [m["learning_rate"] for m in whole], rtol=1e-6)
    assert seen[-1]["learning_rate"] == pytest.approx(0.01 * job.settings.learning_rate)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"), [("lisa", {"steps": 1000, "rho": 1000.0}), ("bayesian_data_scheduler", {"travel": 50.0})]
)
def test_what_a_method_keeps_between_steps_outlives_a_stop(tiny_model, tmp_path, method, options):
    """Of Lisa the anchor, which one state holds on to throughout; of the scheduler the weights of the user's rows."""
    same_after_a_stop(change(make_job(tiny_model), method=method, method_settings=options, batch_size=2), tmp_path)
