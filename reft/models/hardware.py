"""Choosing the device and the number format, with the reason, so that a run can state it."""

from typing import Literal, NamedTuple

import torch

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]


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
        reason = "float32 on a CPU: bfloat16 is emulated on many, and results stay comparable between machines"
        return Hardware(torch.device(device), torch.float32, reason)
    if torch.cuda.is_bf16_supported():
        return Hardware(torch.device(device), torch.bfloat16, "this GPU computes bfloat16 in hardware")
    return Hardware(torch.device(device), torch.float16, "this GPU has no bfloat16 units")
