"""DeepSpeed's own configuration, derived from ours."""

from typing import Any

from reft.config import FinetuneSettings


def deepspeed_config(settings: FinetuneSettings, steps: int, dtype: str, on_cpu: bool) -> dict[str, Any]:
    """The JSON that `deepspeed.initialize` takes.

    Args:
        steps: optimizer steps in all, for the schedule.
        dtype: name of the torch number format.
        on_cpu: the fused optimizer needs a GPU; on a CPU torch's own AdamW is used.
    """
    per_process = settings.batch_size // settings.processes
    accumulation = per_process // min(settings.micro_batch_size, per_process)
    return {
        "train_micro_batch_size_per_gpu": per_process // accumulation,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": settings.max_grad_norm,
        "zero_optimization": {"stage": settings.zero_stage},
        "bf16": {"enabled": dtype == "bfloat16"},
        "fp16": {"enabled": dtype == "float16"},
        "optimizer": {
            "type": "AdamW",
            "params": {"lr": settings.learning_rate, "weight_decay": 0.0, "torch_adam": on_cpu},
        },
        "scheduler": {
            "type": "WarmupCosineLR",
            "params": {
                "total_num_steps": max(steps, 2),
                "warmup_num_steps": max(1, round(0.05 * steps)),
                "warmup_min_ratio": 0.1,
                "cos_min_ratio": 0.01,
            },
        },
        "steps_per_print": 1_000_000,
        "wall_clock_breakdown": False,
    }
