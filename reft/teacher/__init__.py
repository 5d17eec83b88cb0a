"""The teacher: a safety-aligned model trained to separate harmful from harmless along its refusal feature.

Ham et al. 2025 (arXiv 2506.07356), and every number of the training, which is ours.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
