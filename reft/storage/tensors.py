"""Reading safetensors: a file that is cut off or damaged, and numbers that are none, are told by name."""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from reft.errors import StorageError, explain


def read_tensors(path: Path, *, finite: bool = True) -> dict[str, torch.Tensor]:
    """The tensors of a file of an artifact.

    Args:
        finite: no number may be NaN or an infinity.

    Raises:
        StorageError: the file is missing, cut off or damaged, or a tensor holds what it may not.
    """
    remedy = "run the step that makes this artifact again"
    try:
        tensors = load_file(str(path))
    except (SafetensorError, OSError) as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"cut off or damaged ({error})"
        raise StorageError(explain(what, str(path), remedy)) from error
    if finite and (found := not_finite(tensors.items())):
        raise StorageError(explain(f"tensor {found} holds NaN or infinity", str(path), remedy))
    return tensors


def not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """The name of the first tensor with a NaN or an infinity; None where all are finite.

    The sum tells in one pass without a copy; only where it is not finite (it may overflow) is every number looked at.
    """
    for name, tensor in tensors:
        if tensor.is_meta or not tensor.is_floating_point() or tensor.itemsize < 2:
            continue
        if not tensor.sum().isfinite() and not tensor.isfinite().all():
            return name
    return None
