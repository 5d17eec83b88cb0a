"""Setting a threshold: a conformal quantile of scores, for a stated false positive rate or a stated recall."""

import math
from collections.abc import Sequence

import numpy as np

from reft.conversations.schema import Conversation
from reft.errors import DataValidationError, explain


def conformal_threshold(harmless_scores: Sequence[float], fpr: float, weights: Sequence[float] | None = None) -> float:
    """The score above which at most a share `fpr` of exchangeable harmless rows lies, on average.

    The ceil((n + 1)(1 - fpr))-th smallest of n calibration scores (split conformal prediction).

    Args:
        weights: how much each calibration row stands for (weighted conformal prediction); a new row
            is taken to weigh as much as the heaviest. None: all alike.

    Raises:
        DataValidationError: too few rows to promise this rate.
    """
    scores = np.asarray(harmless_scores, dtype=float)
    weight = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=float)
    order = np.argsort(scores, kind="stable")
    below = np.cumsum(weight[order]) / (weight.sum() + weight.max())
    place = int(np.searchsorted(below, 1 - fpr - 1e-9))
    if place == len(scores):
        raise _too_few(weight, fpr)
    return float(scores[order[place]])


def _too_few(weight: np.ndarray, fpr: float) -> DataValidationError:
    """Look-alikes weigh less than other rows: then it is not the number of rows that is too small."""
    needed, alike = math.ceil(1 / fpr - 1e-9) - 1, int(weight.sum() / weight.max() + 1e-9)
    counted = f", which weigh as {alike} rows of the heaviest kind do," if alike < len(weight) else ""
    what = f"{len(weight)} harmless calibration rows{counted} cannot promise a false positive rate of {fpr}"
    more = (
        f"give more rows that are no look-alikes, until that is {needed},"
        if counted
        else f"give at least {needed} rows"
    )
    return DataValidationError(explain(what, "data.calibration_harmless", f"{more} or raise filtering.fpr"))


def recall_threshold(harmful_scores: Sequence[float], recall: float) -> float:
    """The score above which at least a share `recall` of exchangeable harmful rows lies, on average.

    The floor((n + 1)(1 - recall))-th smallest of n calibration scores (split conformal prediction).

    Raises:
        DataValidationError: too few rows to promise this recall.
    """
    place = math.floor((len(harmful_scores) + 1) * (1 - recall) + 1e-9)
    if place < 1:
        raise DataValidationError(
            explain(
                f"{len(harmful_scores)} harmful calibration rows cannot promise a recall of {recall}",
                "data.calibration_harmful",
                f"give at least {math.ceil(1 / (1 - recall) - 1e-9) - 1} rows or lower filtering.recall",
            )
        )
    return float(np.sort(np.asarray(harmful_scores, dtype=float))[place - 1])


def lookalike_weights(harmless: Sequence[Conversation], lookalike_share: float) -> list[float]:
    """Weights under which look-alikes make up this share of the calibration rows, whatever their number.

    Hard negatives belong into a calibration, but a customer's rows hold fewer of them than a file
    that was collected to be hard. Where the rows do not say what they are, all weigh the same.
    """
    lookalike = [row.kind == "lookalike" for row in harmless]
    n = sum(lookalike)
    if not 0 < n < len(lookalike):
        return [1.0] * len(lookalike)
    return [lookalike_share / n if hard else (1 - lookalike_share) / (len(lookalike) - n) for hard in lookalike]
