"""Setting the threshold: a conformal quantile of harmless scores for a stated false positive rate."""

import math
from collections.abc import Sequence

import numpy as np

from reft.errors import DataValidationError, explain


def conformal_threshold(harmless_scores: Sequence[float], fpr: float) -> float:
    """The score above which at most a share `fpr` of exchangeable harmless rows lies, on average.

    The ceil((n + 1)(1 - fpr))-th smallest of n calibration scores (split conformal prediction).

    Raises:
        DataValidationError: too few rows to promise this rate.
    """
    n = len(harmless_scores)
    place = math.ceil((n + 1) * (1 - fpr))
    if place > n:
        raise DataValidationError(
            explain(
                f"{n} harmless calibration rows cannot promise a false positive rate of {fpr}",
                "data.calibration_harmless",
                f"give at least {math.ceil(1 / fpr) - 1} rows or raise filter.fpr",
            )
        )
    return float(np.sort(np.asarray(harmless_scores))[place - 1])
