"""The filter: scores of rows, thresholds, decisions.

A scorer (`scorers/`, a file each) says how harmful a row's parts are; calibration sets thresholds for a stated false
positive rate; `Filter` decides. The direction that the default scorer reads is `reft.refusal_feature`.
"""

from lazy_loader import attach

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "artifact": ["FilteredData"],
        "decisions": ["Decision", "FilterReport", "Thresholds"],
        "filter": ["Filter"],
        "inputs": ["ScorerInputs", "read_inputs", "save_inputs"],
        "run": ["filter_rows"],
    },
)
