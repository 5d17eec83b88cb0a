"""DeepSpeed's own configuration, derived from ours, or the user's own completed by it."""

import math
from collections.abc import Mapping
from typing import Any

from reft.config import FinetuningSettings
from reft.errors import ConfigurationError, explain

BATCH_KEYS = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")


def deepspeed_config(settings: FinetuningSettings, steps: int, dtype: str, *, on_cpu: bool) -> dict[str, Any]:
    """The JSON that `deepspeed.initialize` takes.

    Args:
        steps: optimizer steps in all, for the schedule.
        dtype: name of the torch number format.
        on_cpu: where the ranks compute. DeepSpeed's own AdamW, which it compiles when it starts, is used only for
            optimizer states offloaded from a GPU; else torch's, so that an image needs no compiler.

    Raises:
        ConfigurationError: `finetuning.deepspeed` wants other batches than `finetuning.batch_size` says.
    """
    ours, own = _derived(settings, steps, dtype, on_cpu=on_cpu), settings.deepspeed or {}
    for key in BATCH_KEYS:
        wanted = own.get(key, "auto")
        if wanted not in ("auto", found := ours.get(key, settings.batch_size)):
            what = f"{key} is {wanted}, but {found} follows from batch_size, micro_batch_size and processes"
            raise ConfigurationError(explain(what, "finetuning.deepspeed", 'call it "auto", or change one of those'))
    return {k: v for k, v in _completed(own, ours).items() if k != "train_batch_size"}


def _derived(settings: FinetuningSettings, steps: int, dtype: str, *, on_cpu: bool) -> dict[str, Any]:
    per_process, accumulation = settings.batch_size // settings.processes, settings.accumulation
    zero: dict[str, Any] = {"stage": settings.zero_stage}
    if settings.optimizer_offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": not on_cpu}
    if settings.parameter_offload:
        zero["offload_param"] = {"device": "cpu", "pin_memory": not on_cpu}
    return {
        "train_micro_batch_size_per_gpu": math.ceil(per_process / accumulation),  # DeepSpeed only reports it
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": settings.max_grad_norm,
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": not on_cpu,
        "bf16": {"enabled": dtype == "bfloat16"},
        "fp16": {"enabled": dtype == "float16"},
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": settings.learning_rate,
                "weight_decay": 0.0,
                "torch_adam": on_cpu or not settings.optimizer_offload,
            },
        },
        "scheduler": _scheduler(settings, steps),
        "steps_per_print": 1_000_000,
        "wall_clock_breakdown": False,
    }


def _scheduler(settings: FinetuningSettings, steps: int) -> dict[str, Any]:
    total = max(steps, 2)
    # DeepSpeed rises over two steps at least, and is at the peak in the step after them: the last one at the latest.
    warmup = max(1, min(round(settings.warmup_share * steps), steps - 1))
    rises = settings.warmup_share > 0 and steps > 2
    lowest = 0.1 if rises else 1.0
    rising: dict[str, Any] = {
        "warmup_min_lr": lowest * settings.learning_rate,
        "warmup_max_lr": settings.learning_rate,
        "warmup_num_steps": warmup,
        "warmup_type": "linear",
    }
    falling = {**rising, "total_num_steps": total}
    if not rises:  # it falls to where it rose from: begun where those two steps are over
        falling |= {"warmup_min_lr": 0.1 * settings.learning_rate, "warmup_num_steps": 2}
        falling |= {"total_num_steps": steps + 2, "last_batch_iteration": 2}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "cosine": (
            "WarmupCosineLR",
            {"total_num_steps": total, "warmup_num_steps": warmup, "warmup_min_ratio": lowest, "cos_min_ratio": 0.01},
        ),
        "linear": ("WarmupDecayLR", falling),
        "constant": ("WarmupLR", rising),
    }
    name, params = kinds[settings.schedule]
    return {"type": name, "params": params}


def _completed(own: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """The user's configuration; what it leaves out, or calls "auto" at any depth, is ours.

    A section that names another type than ours (of optimizer or schedule) is taken whole: our parameters may mean
    nothing to it. "auto" where we know no value is left out, so that DeepSpeed's own default holds.
    """
    completed = dict(ours)
    for key, value in own.items():
        default = ours.get(key)
        if value == "auto":
            continue
        if isinstance(value, Mapping):
            known = default if isinstance(default, Mapping) else {}
            if value.get("type", known.get("type")) != known.get("type"):
                known = {}
            completed[key] = _completed(value, known)
        else:
            completed[key] = value
    return completed
