"""Files: artifacts that are whole or not there, and local copies of remote ones.

Safetensors and JSON; nothing here unpickles.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
