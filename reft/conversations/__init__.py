"""Rows as conversations: reading, checking their shape, rendering, tokenising, writing.

Dataset formats (`formats.py`), containers (JSONL, CSV, Parquet), chat templates and tokenisation, in which user text
can forge no special token. Whether a row is good enough to train on is `reft.validation`.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
