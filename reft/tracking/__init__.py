"""MLflow: the only package that knows it.

Logging of runs, the registry, promotion, evaluations of registered versions, serving.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
