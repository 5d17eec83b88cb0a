"""`reft scan`: the filter alone, on a file of any length.

Shards, so that it resumes and processes share the work; the files and the page that it leaves.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
