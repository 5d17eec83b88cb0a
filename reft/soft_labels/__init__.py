"""Soft labels: what the frozen teacher predicts on the alignment rows.

Sparse (top k and the rest), computed once for all customers.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
