"""The filter: scores of rows, thresholds, decisions.

A scorer (`scorers/`, a file each) says how harmful a row's parts are; calibration sets thresholds for a stated false
positive rate; `Filter` decides. The direction that the default scorer reads is `reft.refusal_feature`.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
