"""ReFT, the Refusal-Feature Teacher: safe finetuning of language models on data nobody has vetted."""

import sys
from importlib.metadata import version

from reft.moved import FINDER
from reft.runtime.threads import wait_briefly

if FINDER not in sys.meta_path:
    sys.meta_path.append(FINDER)

wait_briefly()  # before anything loads torch


def __getattr__(name: str) -> str:
    """`__version__`: the one in pyproject.toml, as it was installed. Not a constant here, or each release would change
    the code that every cached result depends on."""
    if name == "__version__":
        return version("refusal-feature-teacher")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
