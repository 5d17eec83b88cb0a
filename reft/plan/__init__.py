"""`reft plan`: will it fit? Memory of a run, counted without weights.

Traces the model on the meta device and adds up what a training holds, by ZeRO stage.
"""

from lazy_loader import attach

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "memory": ["Need", "plan_memory", "zero_stages_that_fit"],
    },
)
