"""Soft labels: what the frozen teacher predicts on the alignment rows.

Sparse (top k and the rest), computed once for all customers.
"""

from lazy_loader import attach

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "labels": ["SoftLabels", "compute_soft_labels"],
        "making": ["make_soft_labels"],
    },
)
