"""The cosine regulariser of the teacher's loss, with the refusal feature re-estimated as it moves."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from reft.refusal_feature.feature import RefusalFeature


@dataclass
class RunningFeature:
    """R and c from a running mean of each class's features, detached from the gradient.

    Attributes:
        harmful, harmless: running class means, [hidden].
        momentum: weight that the old mean keeps at each update; 1 freezes R and c.
    """

    harmful: torch.Tensor
    harmless: torch.Tensor
    momentum: float

    @classmethod
    def start(cls, feature: RefusalFeature, momentum: float, device: torch.device) -> "RunningFeature":
        """Begin at the class means that the untrained refusal feature was made of."""
        half = feature.direction / 2
        return cls((feature.midpoint + half).to(device), (feature.midpoint - half).to(device), momentum)

    @torch.no_grad()
    def update(self, features: torch.Tensor, harmful: torch.Tensor) -> None:
        """Move each class's mean towards the batch's; features [batch, hidden], harmful [batch] bool."""
        for name, chosen in (("harmful", features[harmful]), ("harmless", features[~harmful])):
            if len(chosen):
                old = getattr(self, name)
                setattr(self, name, torch.lerp(chosen.float().mean(0), old, self.momentum))

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """s(x) for each row, [batch]; differentiable in the features alone."""
        direction, midpoint = self.harmful - self.harmless, (self.harmful + self.harmless) / 2
        return F.cosine_similarity(features.float() - midpoint, direction[None], dim=-1)


def cosine_regulariser(scores: torch.Tensor, harmful: torch.Tensor, harmless_target: float) -> torch.Tensor:
    """mean (1 - s(x_h))^2 + mean (t - s(x_s))^2 over a batch; a class without rows adds nothing."""
    targets = torch.where(harmful, torch.ones_like(scores), torch.full_like(scores, harmless_target))
    squared = (targets - scores) ** 2
    return torch.stack([squared[mask].mean() for mask in (harmful, ~harmful) if mask.any()]).sum()
