"""A diagonal linear discriminant from running sums (Dudoit et al. 2002), for features that need not stay in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch

# Added to each variance, as a share of the mean variance at its layer and position: what hardly varies decides nothing.
FLOOR = 0.1


class Sums:
    """Running sums of the features of several groups, and of their squares.

    Args:
        sizes: of each group.
        layers: that will be added.
    """

    def __init__(self, sizes: Sequence[int], layers: Sequence[int]) -> None:
        self._sizes = torch.tensor(sizes)
        self._slot = {layer: index for index, layer in enumerate(layers)}
        self._sums: torch.Tensor | None = None  # [2: as they are and squared, groups, layers, positions, hidden]

    def add(self, groups: torch.Tensor, layer: int, features: torch.Tensor) -> None:
        """Features at this layer, [batch, positions, hidden], and which group each is of, [batch]."""
        # Squares of large activations, less the square of their mean, need the longer number.
        features = features.double().cpu()
        if self._sums is None:
            self._sums = torch.zeros(2, len(self._sizes), len(self._slot), *features.shape[1:]).double()
        for power, found in enumerate((features, features.square())):
            self._sums[power, :, self._slot[layer]].index_add_(0, groups, found)

    def discriminant(
        self, ours: Sequence[int], others: Sequence[int], *, nearer: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(weights [layers, positions, hidden], offset) of these groups against those; the means read 1 and -1.

        Args:
            nearer: taken off all that it reads.
        """
        if self._sums is None:
            raise ValueError("no rows to read features from")
        positive, negative = (self._sums[0, of].sum(0) / self._sizes[of].sum() for of in (ours, others))
        both = [*ours, *others]
        mean, square = (power[both].sum(0) / self._sizes[both].sum() for power in self._sums)
        variance = (square - mean.square()).clamp_min(0)
        weights = (positive - negative) / (variance + FLOOR * variance.mean(-1, keepdim=True))
        weights = weights / (((positive - negative) * weights).sum() / 2)
        return weights, ((positive + negative) / 2 * weights).sum() + nearer
