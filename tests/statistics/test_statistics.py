"""Our interval is SciPy's, without its import."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binomtest

from reft.statistics import auroc, mean_rate, rate


@pytest.mark.parametrize("n", [1, 2, 7, 60, 500])
def test_the_interval_is_scipys(n):
    for hits in {0, 1, n // 3, n - 1, n}:
        found = rate([True] * hits + [False] * (n - hits))
        expected = binomtest(hits, n).proportion_ci(method="wilson")
        assert found is not None
        assert (found.value, found.n) == (hits / n, n)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_rate_of_nothing_is_none():
    assert rate([]) is None


def test_of_several_groups_each_counts_the_same_and_their_spread_counts():
    alike = mean_rate([[True] * 10 + [False] * 90, [True] + [False] * 9, [True] + [False] * 9])
    apart = mean_rate([[False] * 100, [True] * 3 + [False] * 7, [False] * 10])
    assert alike is not None
    assert apart is not None
    assert (alike.value, apart.value) == pytest.approx((0.1, 0.1))
    assert (alike.n, apart.n) == (120, 120)
    assert apart.high > alike.high + 0.05
    assert mean_rate([[], [True, False]]) == rate([True, False])
    assert mean_rate([[], []]) is None


def test_no_hit_in_a_few_rows_is_no_certainty():
    found = mean_rate([[False] * 5, [False] * 5])
    assert found is not None
    assert (found.value, found.low) == (0.0, 0.0)
    assert 0.1 < found.high < 0.5


def test_the_interval_holds_a_group_that_was_not_seen():
    """Sources of different rates; the interval of six holds the mean of all in about 95 of 100 draws."""
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        groups = [(generator.random(25) < p).tolist() for p in generator.beta(2, 8, size=6)]
        found = mean_rate(groups, draws=500)
        held += found is not None and found.low <= 0.2 <= found.high
    assert held >= 170


def test_weights_count_harmless_rows_as_often():
    assert auroc([0.5], [0.1, 0.9]) == 0.5
    assert auroc([0.5], [0.1, 0.9], [3.0, 1.0]) == 0.75


@pytest.mark.slow
def test_a_rate_brings_no_heavy_library():
    code = (
        "import sys, reft.statistics as s; s.rate([True]); print([m for m in ('scipy', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
