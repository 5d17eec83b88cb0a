"""Decoder layers as torch.compile translates them."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from reft.errors import ConfigurationError, explain
from reft.models.default_model import user_cache
from reft.models.layers import decoder_layers

# Steps of a training from which compiling pays on a CPU though nothing is in the cache yet (`benchmarks/compiled.py`).
STEPS_THAT_PAY = 1000
# Kinds of layers, times with gradients or without, times shapes that torch takes for special.
VARIANTS = 64


@contextmanager
def compiled_layers(model: nn.Module, wanted: bool | Literal["auto"], *, steps: int) -> Generator[None]:
    """In the block every decoder layer runs compiled, adapter and all; afterwards it runs as before.

    What a layer does element by element (norms, rotation, gates, an adapter's sums) becomes few loops instead of one
    call for each. Layers of the same kind share what was compiled, for any batch and length, and it is kept in the
    user's cache for the next process. Hooks on a layer see the same outputs, but for rounding.

    Args:
        wanted: "auto" compiles on a CPU, a training of many steps, where a C++ compiler is there and works.
        steps: how many the block will do.

    Raises:
        ConfigurationError: wanted by all means on a CPU without a C++ compiler.
        ModelError: the model has no list of decoder layers.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    missing = _missing_compiler() if on_cpu else None
    if wanted is True and missing:
        remedy = "install g++, name a compiler in CXX, or leave compile_layers at auto"
        raise ConfigurationError(explain("compiling layers needs a C++ compiler", missing, remedy))
    pays = on_cpu and not missing and steps >= STEPS_THAT_PAY
    if wanted is False or (wanted == "auto" and not pays):
        yield
        return
    with ExitStack() as stack:
        _compile_here(stack)
        if wanted is True or _works():
            stack.enter_context(_swapped(model))
        yield


@contextmanager
def _swapped(model: nn.Module) -> Generator[None]:
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


def _missing_compiler() -> str | None:
    """The name of the C++ compiler that a CPU needs, where it is not there."""
    compiler = os.environ.get("CXX", "g++")
    return compiler if shutil.which(compiler) is None else None


def _works() -> bool:
    """Whether a function of one line can be compiled, forwards and backwards; says so where not."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(64, requires_grad=True)).sum().backward()
    except Exception as error:  # of a compiler, its headers or the folder: whatever it is, layers run without
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        logging.getLogger(__name__).warning("layers are not compiled, so that training takes longer: %s", why)
        return False
    return True


def _compile_here(stack: ExitStack) -> None:
    """How torch compiles until the stack ends."""
    import torch._dynamo  # which takes seconds to load
    import torch._inductor.config

    stack.enter_context(_kept_in_the_users_cache())
    # In this process: helpers would each load torch first, and they would stay. Dropout as without compiling.
    stack.enter_context(torch._inductor.config.patch(compile_threads=1, fallback_random=True))
    stack.enter_context(torch._dynamo.config.patch(recompile_limit=VARIANTS))


@contextmanager
def _kept_in_the_users_cache() -> Generator[None]:
    """Torch's own place is in the folder of temporary files, which a start of the machine empties."""
    name = "TORCHINDUCTOR_CACHE_DIR"
    if name in os.environ:
        yield
        return
    with suppress(OSError, RuntimeError):  # no home, or one that cannot be written
        folder = user_cache() / "compiled" / _machine()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK):
            os.environ[name] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _machine() -> str:
    """A name of what is compiled for: a home may be shared by machines, and torch's keys do not hold the CPU."""
    about = [torch.__version__, platform.machine(), platform.python_version()]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about += sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]
