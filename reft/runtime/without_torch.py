"""Starting a command that needs a tokenizer and no model: most of what transformers takes to import is PyTorch."""

import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def without_torch() -> Generator[None]:
    """Let what is imported meanwhile find no PyTorch, as where it is not installed; all is as ever where it is there.

    For a process that loads no model afterwards: what transformers has not defined it defines no more.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # ty: ignore[invalid-assignment] (Python's own sign of a module that is not there)
    try:
        yield
    finally:
        del sys.modules["torch"]
