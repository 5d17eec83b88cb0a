"""Training and answering: the mode that a model is in."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def as_it_answers(model: nn.Module) -> Generator[None]:
    """In the block the model says what it would say to a user: no dropout, and nothing is kept for a gradient."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
