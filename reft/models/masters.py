"""Float32 master copies of parameters that take part in a model in bfloat16 (Micikevicius et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Masters:
    """What an optimizer moves in place of a bfloat16 model's parameters, whose eight bits would round small steps away.

    LoRA matrices that PEFT holds in float32 are given the model's bfloat16, so that no activation is converted for them
    and they are multiplied in hardware. A model in any other format trains its parameters as they are.

    Attributes:
        used: the model's own.
        parameters: float32 ones for an optimizer.
    """

    def __init__(self, used: Sequence[nn.Parameter], dtype: torch.dtype) -> None:
        self.used, self._formats = list(used), [parameter.dtype for parameter in used]
        self.parameters = self.used
        if dtype == torch.bfloat16:
            self.parameters = [nn.Parameter(parameter.detach().float()) for parameter in used]
            self._hold([dtype] * len(self.used))

    def take_gradients(self) -> None:
        """Before they are clipped and the optimizer steps."""
        if self.parameters is not self.used:
            for master, used in zip(self.parameters, self.used, strict=True):
                master.grad = None if used.grad is None else used.grad.float()
                used.grad = None

    @torch.no_grad()
    def give_back(self) -> None:
        """After it: the model's parameters are the masters, rounded, and nothing holds a gradient."""
        for used, master in zip(self.used, self.parameters, strict=True):
            used.copy_(master)
            master.grad = None

    def leave(self) -> None:
        """At the end: the model's parameters hold what the masters do, in the formats that they came in."""
        if self.parameters is not self.used:
            self.give_back()
            self._hold(self._formats)

    def _hold(self, formats: Sequence[torch.dtype]) -> None:
        for used, master, dtype in zip(self.used, self.parameters, formats, strict=True):
            used.data = master.detach().to(dtype, copy=True)
