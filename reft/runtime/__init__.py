"""Running things: processes, progress, cost.

Knows nothing of models or data; nothing here changes a result, so cache keys leave it out.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
