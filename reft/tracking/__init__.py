"""MLflow: the only package that knows it.

Logging of runs, the registry, promotion, evaluations of registered versions, serving.
"""

from lazy_loader import attach

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "evaluations": ["newest_evaluation", "record_evaluation"],
        "promotion": ["promote", "rollback"],
        "registry": ["RegisteredModel", "champion_version", "register_candidate"],
    },
)
