"""Which methods stand in a grid, and what tables call them."""

import warnings
from collections.abc import Sequence

from reft.finetuning.methods import load_method, method_names

# What a grid of an earlier release may still say.
RENAMED = {"distilled": "reft", "distilled from aligned": "reft_from_aligned"}
LABELS = {
    ("reft", True): "ReFT",
    ("reft", False): "distil only",
    ("reft_from_aligned", True): "ReFT from aligned",
    ("reft_from_aligned", False): "distil only from aligned",
    ("sft", True): "filter only",
}


def present_method(name: str) -> str:
    """What a method is called now; an old name is warned of."""
    present = RENAMED.get(name, name.replace(" ", "_"))
    if present != name:
        warnings.warn(f"the method {name!r} is called {present!r} now; the old name goes with 0.3", FutureWarning, 3)
    return present


def label(method: str, *, filtered: bool) -> str:
    """How a method with or without the filter in front is called in tables."""
    words = method.replace("_", " ")
    return LABELS.get((method, filtered), f"{words} + filter" if filtered else words)


def variants(names: Sequence[str] | None, filtered: Sequence[bool]) -> list[tuple[str, bool]]:
    """Each method as asked without and with the filter in front, once where no filter can change anything.

    Args:
        names: None for all methods.

    Raises:
        ConfigurationError: there is no method of a name.
    """
    found = [(name, load_method(name)) for name in (method_names() if names is None else names)]
    return [
        (name, front)
        for name, method in found
        for front in ((False,) if method.loss is None or method.oracle else filtered)
    ]
