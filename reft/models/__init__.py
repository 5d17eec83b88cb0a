"""Language models: loading, hardware, adapters, layers.

Everything that knows the shape of a transformers model. Safetensors only; a model's own code runs only where a setting
allows it.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
