"""ReFT against other ways to finetune: `reft benchmark comparison`.

A grid of cells (method, filter, task, poison, seed), made through the same functions as the pipeline's steps, judged,
pooled and shown. The methods themselves are `reft.finetuning.methods`, the judges `reft.judges`.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
