"""The refusal feature: the direction in which a model represents "I refuse".

Ham et al. 2025 (arXiv 2506.07356). Reading hidden states, the difference of means, which layer and position to take,
and conformal thresholds on its scores.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
