"""Cache keys: what a result was made of.

Digests of files, of settings, and of the code that a module imports, all the way down; each step's key, and which part
of it changed since a run. What is left out of the code is one list in `closure.py`.
"""

from lazy_loader import attach

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "closure": ["code_of", "digest_of_code"],
        "stages": ["StageKey", "stage_keys"],
    },
)
