"""Two directions in which one layer's features can be read: the difference of means, or a linear probe."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F

Readout = Literal["mean", "probe"]
READOUTS: tuple[Readout, ...] = get_args(Readout)


def midpoint_of(harmful: torch.Tensor, harmless: torch.Tensor) -> torch.Tensor:
    """c, the mean of the two class means; features [rows, hidden] -> [hidden]."""
    return (harmful.mean(0) + harmless.mean(0)) / 2


def difference_of_means(harmful: torch.Tensor, harmless: torch.Tensor) -> torch.Tensor:
    """R; features [rows, hidden] -> [hidden]."""
    return harmful.mean(0) - harmless.mean(0)


def linear_probe(harmful: torch.Tensor, harmless: torch.Tensor) -> torch.Tensor:
    """The normal of a logistic regression on the centred features' directions; [rows, hidden] -> [hidden].

    Lengths are taken out first, so that a row's score stays what it is for R: a cosine around the midpoint.
    """
    from sklearn.linear_model import LogisticRegression

    centred = F.normalize(torch.cat([harmful, harmless]) - midpoint_of(harmful, harmless), dim=-1)
    labels = [1] * len(harmful) + [0] * len(harmless)
    probe = LogisticRegression(class_weight="balanced", max_iter=1000).fit(centred.numpy(), labels)
    return torch.from_numpy(probe.coef_[0]).to(harmful)


DIRECTIONS: dict[Readout, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mean": difference_of_means,
    "probe": linear_probe,
}
