"""What a model is asked, its answers, and the table of measures.

Questions by group, greedy answers, every measure with its interval. A measure is a line of `measures.py`; judges are
`reft.judges`, intervals `reft.statistics`, limits on measures `reft.gate`.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
