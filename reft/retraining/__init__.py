"""`reft retrain`: has the data drifted so far that a new run is due?

Drift of the rows and of answers to canary prompts, and the decision with its reasons.
"""

from lazy_loader import attach

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "decision": [
            "DRIFTED",
            "Decision",
            "SAMPLE",
            "canary_accuracy",
            "canary_drift",
            "decide_retraining",
            "drift_between",
        ],
    },
)
