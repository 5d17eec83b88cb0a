"""Is a row good enough to train on? The upload, checked before anything is trained.

Shape, length, repeats, secrets, personal data; Great Expectations on the whole. What is wrong is quarantined with row,
field and remedy.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
