"""Cache keys: what a result was made of.

Digests of files, of settings, and of the code that a module imports, all the way down; each step's key, and which part
of it changed since a run. What is left out of the code is one list in `closure.py`.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
