"""What a stage costs."""

import subprocess
import sys

import psutil
import pytest

from reft.runtime.cost import PeakMemory, measured


@pytest.mark.slow
def test_cost_measures_time_and_the_memory_of_children():
    code = "x = bytearray(300 * 2**20); import time; time.sleep(1)"
    with measured("a stage") as cost:
        before = cost.peak_rss_mb
        subprocess.run([sys.executable, "-c", code], check=True)
    assert cost.seconds >= 1
    assert cost.peak_rss_mb > before
    assert cost.peak_rss_mb > 300


@pytest.mark.slow
def test_shared_pages_are_told_apart_only_where_memory_grew(monkeypatch):
    """It holds up the process that is looked at, a training for tenths of a second each time."""
    walked, walk = [], psutil.Process.memory_full_info
    monkeypatch.setattr(psutil.Process, "memory_full_info", lambda process: walked.append(process) or walk(process))
    code = "x = bytearray(b'1') * (300 * 2**20); print('ready', flush=True); input()"
    peak = PeakMemory()
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        peak.look()
        first = len(walked)
        peak.look()
        child.communicate("\n")
    assert peak.peak_mb > 300
    assert first == len(walked) == 2
