"""The audit of a finished model: does the student go along with harm that nobody asked it about so far?

A row filter sees what went in, this looks at what came out: `forms` are ways to put a prompt, `probes` the table of
what is asked, `triggers` phrases of the user's own rows that may be triggers, `drift` how far the student is from its
teacher, `margin` how soon a few harmful rows undo it. `score` makes one number of all of it, calibrated on benign
jobs, and `verdict` says it in words. `audit` asks a student all of that, and `run` begins with what lies on disk.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
