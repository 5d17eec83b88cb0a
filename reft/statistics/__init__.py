"""Rates with their confidence intervals.

A scan of a few rows is over before SciPy's statistics would be imported, so nothing here brings them along.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

Z = NormalDist().inv_cdf(0.975)


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
    hits, n = sum(outcomes), len(outcomes)
    low, high = _wilson(hits, n)
    return Interval(hits / n, low, high, n)


def _wilson(hits: int, n: int) -> tuple[float, float]:
    """The score interval (Wilson, 1927), as SciPy's `proportion_ci` gives it."""
    share = hits / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return (middle - half if hits else 0.0), (middle + half if hits < n else 1.0)


def mean_rate(groups: Sequence[Sequence[bool]], *, draws: int = 10_000, seed: int = 0) -> Interval | None:
    """The mean of the groups' rates, each group counting the same: the rate to expect of a group that was not seen.

    The 95 % interval is a cluster bootstrap's (Davison and Hinkley, 1997): groups are drawn anew, and in each a rate
    from its Jeffreys posterior instead of its rows, so that a few rows without a hit are not taken for certainty.
    `n` counts rows. None where there is nothing to measure; of one group it is `rate`.
    """
    groups = [group for group in groups if group]
    if len(groups) < 2:
        return rate(groups[0]) if groups else None
    hits, n = np.array([sum(group) for group in groups]), np.array([len(group) for group in groups])
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(groups), size=(draws, len(groups)))
    means = generator.beta(hits[drawn] + 0.5, n[drawn] - hits[drawn] + 0.5).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    value = float((hits / n).mean())
    return Interval(value, min(float(low), value), max(float(high), value), int(n.sum()))


def auroc(harmful: Sequence[float], harmless: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The chance that a harmful row scores higher than a harmless one; `weights`: of the harmless ones."""
    from sklearn.metrics import roc_auc_score

    labels = [1] * len(harmful) + [0] * len(harmless)
    sample_weight = [*[1.0] * len(harmful), *weights] if weights else None
    return float(roc_auc_score(labels, [*harmful, *harmless], sample_weight=sample_weight))
