"""Frozen adapters beside the student's own, on the same frozen base."""

from pathlib import Path
from typing import Any

from torch import nn

TEACHER, BESIDE = "teacher", "beside"


def load_frozen(student: Any, folder: Path, name: str) -> None:
    """Load an adapter that is neither trained nor active; the student stays in its mode (PEFT ends training mode)."""
    training = student.training
    student.load_adapter(str(folder), name, is_trainable=False)
    student.train(training)


def put_beside(student: Any, folder: Path) -> None:
    """Load an adapter that is active together with the student's own: both updates are added in every forward pass.

    It has no dropout, whatever it was trained with, and no optimizer holds it (PEFT's own switch would make what it
    activates trainable).
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    load_frozen(student, folder, BESIDE)
    for layer in (module for module in student.modules() if isinstance(module, BaseTunerLayer)):
        layer._active_adapter = [*layer.active_adapters, BESIDE]
        dropout: Any = getattr(layer, "lora_dropout", {})
        if BESIDE in dropout:
            dropout[BESIDE] = nn.Identity()
