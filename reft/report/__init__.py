"""For people: the page of a run, its summary, the model card, plots.

A section of the page is two files in `sections/`. What users wrote is escaped; pages load nothing from a network.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
