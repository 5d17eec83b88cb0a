"""Running things: processes, progress, cost.

Knows nothing of models or data; nothing here changes a result, so cache keys leave it out.
"""

from lazy_loader import attach

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "cost": ["Cost", "measured"],
        "processes": ["run_in_processes"],
        "progress": ["RunProgress", "expect_run"],
    },
)
