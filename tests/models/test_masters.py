import pytest
import torch
from torch import nn

from reft.models.masters import Masters


@torch.no_grad()
def descend(masters, rate):
    masters.take_gradients()
    for master in masters.parameters:
        if master.grad is not None:
            master -= rate * master.grad
    masters.give_back()


def trained(dtype, steps=200):
    """A number that falls by a ten thousandth at each step, from 1: in eight bits no such step would be seen."""
    number = nn.Parameter(torch.ones(1))
    masters = Masters([number], dtype)
    seen = set()
    for _ in range(steps):
        seen.add(number.dtype)
        number.sum().backward()
        descend(masters, 1e-4)
        assert number.grad is None
    masters.leave()
    return number, seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_small_steps_are_not_rounded_away_and_the_format_is_the_one_that_came_in(dtype):
    number, seen = trained(dtype)
    assert number.dtype == torch.float32
    assert number.item() == pytest.approx(0.98, abs=1e-4)
    assert seen == {torch.bfloat16 if dtype == torch.bfloat16 else torch.float32}


def test_a_parameter_that_came_in_bfloat16_leaves_in_it():
    number = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    masters = Masters([number], torch.bfloat16)
    assert [p.dtype for p in masters.parameters] == [torch.float32]
    with torch.no_grad():
        masters.parameters[0].fill_(0.5)
    masters.leave()
    assert number.dtype == torch.bfloat16
    assert number.item() == 0.5


def test_a_parameter_that_got_no_gradient_stays():
    idle, busy = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    masters = Masters([idle, busy], torch.bfloat16)
    busy.sum().backward()
    descend(masters, 0.1)
    masters.leave()
    assert idle.tolist() == [1.0, 1.0]
    assert max(busy.tolist()) < 1
