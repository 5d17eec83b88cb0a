"""Our interval is SciPy's, without its import."""

import subprocess
import sys

import pytest
from scipy.stats import binomtest

from reft.statistics import auroc, rate


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
