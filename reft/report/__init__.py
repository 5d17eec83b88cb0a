"""For people: the page of a run, its summary, the model card, plots.

A section of the page is two files in `sections/`. What users wrote is escaped; pages load nothing from a network.
"""

from lazy_loader import attach

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "html": ["RunResult", "render_report"],
        "model_card": ["CardInputs", "render_model_card"],
        "summary": ["build_summary", "percent", "table"],
    },
)
