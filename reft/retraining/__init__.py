"""`reft retrain`: has the data drifted so far that a new run is due?

Drift of the rows and of answers to canary prompts, and the decision with its reasons.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
