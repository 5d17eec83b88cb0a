"""The gate: may this student become a candidate?

Rules (`rules/`, a file each) look at its scores, the filter and the champion; a verdict holds them all. Moving aliases
is `reft.promotion` and `reft.tracking`.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
