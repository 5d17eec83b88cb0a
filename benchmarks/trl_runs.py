"""One training with TRL's trainers on a job of ours, in a process of its own: `python -m benchmarks.trl_runs`.

Called by `benchmarks.rival_trainers`; prints one line of JSON.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer
from trl.experimental.gkd import GKDConfig, GKDTrainer

from reft.conversations.batching import pad
from reft.conversations.tokenization import Encoded
from reft.finetuning.job import FinetuneJob
from reft.models.adapters import wrap_lora
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer


class Times(TrainerCallback):
    """When each optimizer step ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called by the trainer."""
        self.ended.append(time.monotonic())


def rows_in_order(job: FinetuneJob, which: str) -> tuple[list[Encoded], int]:
    """The rows as our own plan takes them, and how many of them make a step."""
    steps = job.plan()
    taken = [
        [job.user[i] for i in step.user] * (which != "alignment")
        + [job.alignment[i] for i in step.alignment] * (which != "user")
        for step in steps
    ]
    return [row for step in taken for row in step], len(taken[0])


def train(job: FinetuneJob, trainer: str, which: str) -> dict[str, Any]:
    """Seconds of all steps but the first, tokens in them, and the losses."""
    rows, batch = rows_in_order(job, which)
    hardware = choose_hardware(job.model.dtype)
    tokenizer = load_tokenizer(job.model.name, job.model.chat_template)
    assert job.settings.lora
    student = wrap_lora(load_model(job.model.name, hardware.dtype), job.settings.lora)

    def collate(found: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        chosen = [rows[row["index"]] for row in found]
        inputs = pad(chosen, int(tokenizer.pad_token_id), torch.device("cpu"))
        labels = torch.full_like(inputs["input_ids"], -100)
        for number, row in enumerate(chosen):
            labels[number, slice(*row.completion)] = inputs["input_ids"][number, slice(*row.completion)]
        return {**inputs, "labels": labels}

    with tempfile.TemporaryDirectory() as folder:
        common: dict[str, Any] = {
            "output_dir": folder, "per_device_train_batch_size": batch, "num_train_epochs": 1, "logging_steps": 1,
            "learning_rate": job.settings.learning_rate, "lr_scheduler_type": "constant", "warmup_steps": 0,
            "weight_decay": 0.0, "max_grad_norm": job.settings.max_grad_norm, "report_to": "none",
            "train_sampling_strategy": "sequential", "dataset_kwargs": {"skip_prepare_dataset": True},
            "remove_unused_columns": False, "save_strategy": "no", "disable_tqdm": True, "seed": job.seed,
            "gradient_checkpointing": False, "bf16": hardware.dtype == torch.bfloat16, "dataloader_pin_memory": False,
            "shuffle_dataset": False, "use_cpu": hardware.device.type == "cpu",
        }  # fmt: skip
        times = Times()
        what: dict[str, Any] = {
            "model": student, "train_dataset": Dataset.from_dict({"index": list(range(len(rows)))}),
            "processing_class": tokenizer, "data_collator": collate, "callbacks": [times],
        }  # fmt: skip
        if trainer == "sft":
            made = SFTTrainer(args=SFTConfig(**common), **what)
        else:
            teacher = load_model(job.model.name, hardware.dtype)
            made = GKDTrainer(
                args=GKDConfig(**common, lmbda=0.0, beta=0.0, temperature=1.0), teacher_model=teacher, **what
            )
        made.train()
        losses = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
    return {
        "seconds": times.ended[-1] - times.ended[0],
        "tokens": sum(len(row) for row in rows[batch:]),
        "losses": losses,
    }


if __name__ == "__main__":
    print(json.dumps(train(FinetuneJob.load(Path(sys.argv[1])), sys.argv[2], sys.argv[3])))
