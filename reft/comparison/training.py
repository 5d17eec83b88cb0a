"""The one training loop of all methods, in this process: AdamW and a cosine, without DeepSpeed."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reft.comparison.methods import Method, Training
from reft.errors import TrainingError, explain
from reft.finetuning.job import FinetuneJob
from reft.finetuning.schedule import share_of
from reft.models.adapters import wrap_lora
from reft.models.hardware import attend_for_training, choose_hardware
from reft.models.layers import decoder_of
from reft.models.loading import load_model, load_tokenizer
from reft.models.memory import return_freed_memory
from reft.runtime.progress import Report
from reft.teacher.training import optimizer_and_schedule


def train(
    method: Method,
    job: FinetuneJob,
    aligned_minus_base: Callable[[], dict[str, torch.Tensor]],
    *,
    output: Path,
    report: Report | None = None,
) -> int:
    """Train an adapter of `job.model` by the method and write it under `output`.

    Args:
        aligned_minus_base: makes what alignment changed of each weight matrix, for the method that needs it.

    Returns:
        How many tokens went through the model.

    Raises:
        TrainingError: the loss is not a number.
    """
    settings, lora = job.settings, job.settings.lora
    if method.loss is None or lora is None:
        raise ValueError("a method without a loss trains nothing, and the comparison is of LoRA adapters")
    torch.manual_seed(job.seed)
    hardware = choose_hardware(job.model.dtype)
    tokenizer = load_tokenizer(job.model.name, job.model.chat_template, job.model.trust_remote_code)
    base = load_model(job.model.name, hardware.dtype, trust_remote_code=job.model.trust_remote_code)
    attend_for_training(base, max(map(len, [*job.user, *job.alignment])))
    model = wrap_lora(base, lora).train()
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # ty: ignore[not-callable]
    taken = {"epochs": settings.epochs * method.passes}
    if not method.alignment:
        taken["alignment_ratio"] = 0
    steps = replace(job, settings=settings.model_copy(update=taken)).plan()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer, schedule = optimizer_and_schedule(parameters, settings.learning_rate, len(steps))
    step_loss, tokens = method.loss(Training(model, job, int(tokenizer.pad_token_id))), _count_tokens(model)
    passes = math.ceil(settings.batch_size / settings.micro_batch_size)
    for number, step in enumerate(steps):
        for piece in share_of(step, 0, 1, accumulation=passes):
            loss = step_loss(number, piece, step)
            if not torch.isfinite(loss):
                remedy = "lower finetuning.learning_rate"
                raise TrainingError(explain(f"{method.name}: the loss is not a number", f"step {number}", remedy))
            if loss.requires_grad:  # a piece may have no rows of the kind that this method takes
                loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if number % 8 == 0:
            return_freed_memory()
        if report:
            report(number + 1, len(steps))
    if method.after:
        method.after(model, aligned_minus_base())
    model.save_pretrained(output)  # ty: ignore[not-callable]
    return tokens.total()


def _count_tokens(model: nn.Module) -> Counter[str]:
    """What goes through the model from here on, padding apart, whatever a method's loss takes of a step."""
    seen: Counter[str] = Counter()

    def count(_: nn.Module, __: tuple[Any, ...], given: dict[str, Any]) -> None:
        seen["tokens"] += int(given["attention_mask"].sum())

    decoder_of(model).register_forward_pre_hook(count, with_kwargs=True)
    return seen
