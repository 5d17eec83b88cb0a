"""Rates with their confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score


@dataclass(frozen=True)
class Interval:
    """A rate with its 95 % Wilson interval; `n` is how many rows it was measured on."""

    value: float
    low: float
    high: float
    n: int


def rate(outcomes: Sequence[bool]) -> Interval | None:
    """The share of true outcomes; None where there is nothing to measure."""
    if not outcomes:
        return None
    hits = sum(outcomes)
    interval = binomtest(hits, len(outcomes)).proportion_ci(method="wilson")
    return Interval(hits / len(outcomes), float(interval.low), float(interval.high), len(outcomes))


def auroc(harmful: Sequence[float], harmless: Sequence[float]) -> float:
    """The chance that a harmful row scores higher than a harmless one."""
    return float(roc_auc_score([1] * len(harmful) + [0] * len(harmless), [*harmful, *harmless]))
