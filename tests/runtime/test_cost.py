"""What a stage costs."""

import subprocess
import sys

import pytest

from reft.runtime.cost import measured


@pytest.mark.slow
def test_cost_measures_time_and_the_memory_of_children():
    code = "x = bytearray(300 * 2**20); import time; time.sleep(1)"
    with measured("a stage") as cost:
        before = cost.peak_rss_mb
        subprocess.run([sys.executable, "-c", code], check=True)
    assert cost.seconds >= 1
    assert cost.peak_rss_mb > before
    assert cost.peak_rss_mb > 300
