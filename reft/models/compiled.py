"""Decoder layers as torch.compile translates them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn

from reft.errors import ConfigurationError, explain
from reft.models.layers import decoder_layers


@contextmanager
def compiled_layers(model: nn.Module, wanted: bool = True) -> Generator[None]:
    """In the block every decoder layer runs compiled, adapter and all; afterwards it runs as before.

    What a layer does element by element (norms, rotation, gates, an adapter's sums) becomes few loops instead of one
    call for each. Layers of the same kind share what was compiled, for any batch and length, and torch keeps it on disk
    for the next process. Hooks on a layer see the same outputs, but for rounding.

    Raises:
        ConfigurationError: on a CPU, without a C++ compiler.
    """
    if not wanted:
        yield
        return
    _require_compiler(next(model.parameters()).device)
    layers = decoder_layers(model)
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = torch.compile(layer.forward, dynamic=True)
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward


def _require_compiler(device: torch.device) -> None:
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        remedy = "install g++, name a compiler in CXX, or leave compile_layers off"
        raise ConfigurationError(explain("compiling layers needs a C++ compiler", compiler, remedy))
