"""What keeps the fast tier fast."""

import subprocess
import sys

import pytest
import torch

from tests.tiers import NotFast


def test_a_process_or_a_training_in_the_fast_tier_is_refused():
    with pytest.raises(NotFast, match="it starts a process"):
        subprocess.run([sys.executable, "-c", ""], check=False)
    weight = torch.nn.Parameter(torch.ones(1))
    weight.sum().backward()
    with pytest.raises(NotFast, match="it trains"):
        torch.optim.SGD([weight], lr=0.1).step()


@pytest.mark.slow
def test_the_slow_tier_may_do_both():
    assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0
    weight = torch.nn.Parameter(torch.ones(1))
    weight.sum().backward()
    torch.optim.SGD([weight], lr=0.1).step()
