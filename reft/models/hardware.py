"""Choosing the device and the number format, with the reason, so that a run can state it."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
# Prompt and answer tokens of what is generated at once: every step of a batch reads all the weights once, whatever the
# batch, and a batch holds as many rows as fit in some hundred megabytes of keys, values and logits.
TOKENS_PER_BATCH = 8192


class Hardware(NamedTuple):
    """Where models run, in which format, and why."""

    device: torch.device
    dtype: torch.dtype
    reason: str


def choose_hardware(dtype: DtypeName = "auto", device: str = "auto") -> Hardware:
    """Pick what this machine does well; an explicit `dtype` or `device` is taken as it is."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype != "auto":
        return Hardware(torch.device(device), getattr(torch, dtype), "set by the configuration")
    if device == "cpu":
        if cpu_multiplies_bfloat16():
            return Hardware(torch.device(device), torch.bfloat16, "this CPU multiplies bfloat16 in hardware")
        return Hardware(torch.device(device), torch.float32, "this CPU would emulate bfloat16")
    if torch.cuda.is_bf16_supported():
        return Hardware(torch.device(device), torch.bfloat16, "this GPU computes bfloat16 in hardware")
    return Hardware(torch.device(device), torch.float16, "this GPU has no bfloat16 units")


def take_gpu(local_rank: int) -> None:
    """Each process of a machine gets a GPU of its own; nothing happens on a CPU."""
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())


def tokens_at_once(device: torch.device) -> int:
    """How many tokens one forward pass that keeps nothing should take (measured by `benchmarks.kernels`).

    On a CPU few, whose activations stay in its second-level cache; a GPU wants many to be busy.
    """
    return 768 if device.type == "cpu" else 16384


def attend_for_training(model: PreTrainedModel, longest: int) -> None:
    """Before a training on rows of at most `longest` tokens, choose the faster attention.

    On a CPU, torch's fused attention is slow backwards; short rows go better without it, long ones
    would cost too much memory (measured by `benchmarks.kernels`).
    """
    if model.device.type == "cpu" and longest <= 256:
        model.set_attn_implementation("eager")


# Bfloat16 that is so many times slower is not done in hardware.
EMULATED = 20


@lru_cache(maxsize=1)
def cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has bfloat16 instructions and torch makes good use of them.

    The instruction set decides, so that every process of a run decides alike; the timing only guards
    against builds and virtual machines where bfloat16 is offered and yet hundreds of times slower. A machine that is
    busy with other work times both formats badly, and must not turn a run's numbers into another format's.
    """
    capabilities = torch.cpu.get_capabilities()
    if not any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")):
        return False
    return _multiplication_seconds(torch.bfloat16) < EMULATED * _multiplication_seconds(torch.float32)


def _multiplication_seconds(dtype: torch.dtype) -> float:
    matrix = torch.ones(512, 512, dtype=dtype)
    taken = []
    for _ in range(4):  # the first one also sets up kernels
        started = time.perf_counter()
        matrix @ matrix
        taken.append(time.perf_counter() - started)
    return min(taken[1:])
