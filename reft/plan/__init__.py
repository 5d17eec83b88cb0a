"""`reft plan`: will it fit? Memory of a run, counted without weights.

Traces the model on the meta device and adds up what a training holds, by ZeRO stage.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
