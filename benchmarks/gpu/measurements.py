"""The measurements; each takes the folder that `made.make` filled and returns the numbers of its line."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from benchmarks.filtering import flops_per_token, peak_flops
from benchmarks.finetuning import run
from benchmarks.gpu.made import made
from benchmarks.rival_trainers import trl
from reft.config import Settings
from reft.conversations.tokenization import Encoded
from reft.finetuning.job import FinetuneJob
from reft.models.hardware import choose_hardware
from reft.models.layers import layer_count
from reft.models.loading import load_model, load_tokenizer
from reft.plan.memory import GIB, OVERHEAD, plan_memory
from reft.refusal_feature.features import collect_features

PROTOCOL = Path("configs/full.yaml")


def measurements() -> dict[str, Callable[[Path], dict[str, Any]]]:
    """All of them by name, in the order of their worth."""
    finetunes = {
        f"finetune, {kind}, ZeRO {stage}": partial(finetune, stage=stage, distilled=kind == "distilled")
        for stage in (0, 3)
        for kind in ("plain", "distilled")
    }
    return {**finetunes, "TRL SFT, plain": rival, "scan": scan, "default run": default_run}


def finetune(folder: Path, *, stage: int, distilled: bool) -> dict[str, Any]:
    """Train once, steps after the first counted: speed, share of the peak, memory and what `reft plan` says of it."""
    job = _plain(made(folder)) if not distilled else made(folder)
    found = run(job, zero_stage=stage)
    found.pop("losses")
    return {**found, **_speed(job, found), **_planned(job, stage, found.get("peak_gpu_mb"))}


def rival(folder: Path) -> dict[str, Any]:
    """TRL's SFT trainer on the same rows in the same order, and ours right before it."""
    job = _plain(made(folder))
    ours, theirs = run(job, zero_stage=0), trl(job, "sft", "user")
    apart = max(abs(a - b) for a, b in zip(ours["losses"], theirs["losses"], strict=True))
    speed = {name: found["tokens"] / found["seconds"] for name, found in (("ours", ours), ("trl", theirs))}
    return {
        "tokens_per_second": speed, "times_trl": speed["ours"] / speed["trl"], "largest_loss_difference": apart,
    }  # fmt: skip


def scan(folder: Path, depth: float = 0.5) -> dict[str, Any]:
    """Rows scored a second by the layer in the middle, and their share of the peak; the median of three."""
    job, hardware = made(folder), choose_hardware()
    model = load_model(job.model.name, hardware.dtype, device=hardware.device)
    tokenizer = load_tokenizer(job.model.name, job.model.chat_template)
    rows, layer = list(job.user), max(1, round(depth * layer_count(model)))
    taken = sorted(_scored(partial(collect_features, model, tokenizer, rows, layers=[layer])) for _ in range(4))[1]
    length = sum(map(len, rows)) / len(rows)
    flops = flops_per_token(model.config, layer, length / 2) * length
    peak = peak_flops(hardware.dtype, hardware.device, _side(hardware.device))
    return {
        "rows_per_second": len(rows) / taken, "tokens_per_second": len(rows) * length / taken,
        "share_of_peak": len(rows) / taken * flops / peak, "peak_tflops": peak / 1e12,
    }  # fmt: skip


def default_run(_: Path) -> dict[str, Any]:
    """The whole pipeline on the default model with the evaluation at its full size, in seconds."""
    zenml, started = Path(sys.executable).with_name("zenml"), time.monotonic()
    subprocess.run([str(zenml), "pipeline", "run", "reft_pipeline", "--config", str(PROTOCOL)], check=True)
    return {"seconds": time.monotonic() - started, "profile": str(PROTOCOL)}


def _plain(job: FinetuneJob) -> FinetuneJob:
    settings = job.settings.model_copy(update={"alignment_ratio": 0.0})
    return replace(job, settings=settings, alignment=(), soft_labels=None, harmful=0)


def _scored(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()  # ends with features on the CPU, so that nothing is still under way
    return time.perf_counter() - started


def _side(device: torch.device) -> int:
    """Of the matrices whose product shows the peak."""
    return 8192 if device.type == "cuda" else 1024


def step_flops(name: str, row: Encoded) -> float:
    """Of the model for one row: forward, and as much again backward, since frozen weights need no gradients.

    Attention counts half the row as context; the head works on the answer's tokens alone. Adapters are left out.
    """
    config = AutoConfig.from_pretrained(name).get_text_config()
    decoder = flops_per_token(config, config.num_hidden_layers, len(row) / 2) * len(row)
    return 2 * (decoder + 2 * config.hidden_size * config.vocab_size * row.learnt_tokens)


def _speed(job: FinetuneJob, found: dict[str, Any]) -> dict[str, Any]:
    hardware, rate = choose_hardware(), found["tokens"] / found["seconds"]
    peak = peak_flops(hardware.dtype, hardware.device, _side(hardware.device))
    flops = rate / len(job.user[0]) * step_flops(job.model.name, job.user[0])
    return {"tokens_per_second": rate, "model_flops_utilisation": flops / peak, "peak_tflops": peak / 1e12}


def _planned(job: FinetuneJob, stage: int, peak_gpu_mb: float | None) -> dict[str, Any]:
    """What `reft plan` says, without the overhead that no tensor takes, beside what the tensors took."""
    settings = Settings(model=job.model, finetuning=job.settings)
    config, length = AutoConfig.from_pretrained(job.model.name), len(job.user[0])
    needs = plan_memory(config, settings, 1, nodes=1, tokens=length, answer=job.user[0].learnt_tokens)
    need = next(need for need in needs if need.stage.startswith(f"finetune, ZeRO {stage}"))
    planned = need.gpu - OVERHEAD
    took = None if peak_gpu_mb is None else peak_gpu_mb / 1024
    return {"planned_gib": planned / GIB, "took_gib": took, "plan_over_took": took and planned / GIB / took}
