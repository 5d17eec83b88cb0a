"""The audit log of promotions: who let which version serve, and why.

Entries in a chain of digests, and their verification. What a registry stores of it is `reft.tracking`.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
