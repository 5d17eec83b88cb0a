"""Attacks on the filter: what a poisoner would try.

Disguises of a harmful request, an adaptive attacker who sees scores, and how many of either still get through. Nothing
here is an instruction: every request is generic. A new disguise is one function in `disguises.py`.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
