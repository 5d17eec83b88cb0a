"""The refusal feature: one direction and one midpoint, at one layer and position (method, step 1)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from reft.refusal_feature.features import Position
from reft.refusal_feature.readouts import Readout
from reft.storage.artifacts import as_written, read_json, write_json
from reft.storage.digests import require_sealed, seal
from reft.storage.tensors import read_tensors


@dataclass(frozen=True)
class Separation:
    """How well one layer, position and readout tell held-out harmful from harmless prompts apart."""

    layer: int
    position: Position
    auroc: float
    readout: Readout = "mean"


@dataclass(frozen=True, kw_only=True)
class RefusalFeature:
    """R_l and c_l, and how they were chosen.

    Attributes:
        direction: R_l = mean f(x_h) - mean f(x_s), or the normal of a linear probe, [hidden], float32.
        midpoint: c_l, the mean of the two class means, [hidden], float32.
        layer: counted from 1.
        position: which prompt token is read.
        separations: AUROC on held-out prompts for everything that was tried.
        fingerprint: of the model, data and settings that made it.
        readout: which of the two the direction is.
    """

    direction: torch.Tensor
    midpoint: torch.Tensor
    layer: int
    position: Position
    separations: tuple[Separation, ...]
    fingerprint: str = ""
    readout: Readout = "mean"

    def score(self, features: torch.Tensor) -> torch.Tensor:
        """s(x) = cos(f(x) - c, R) in [-1, 1]; features [..., hidden] -> [...]."""
        direction, midpoint = self.direction.to(features), self.midpoint.to(features)
        return F.cosine_similarity(features - midpoint, direction, dim=-1)

    def auroc(self) -> float:
        """The held-out AUROC of what was chosen."""
        chosen = (self.layer, self.position, self.readout)
        return next(s.auroc for s in self.separations if (s.layer, s.position, s.readout) == chosen)

    def save(self, folder: Path) -> None:
        """Write `refusal_feature.safetensors` and `refusal_feature.json` into the folder, and their digests."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"direction": self.direction.contiguous(), "midpoint": self.midpoint.contiguous()}
        save_file(tensors, str(folder / "refusal_feature.safetensors"))
        described = {
            "layer": self.layer,
            "position": self.position,
            "separations": [asdict(s) for s in self.separations],
            "fingerprint": self.fingerprint,
            "readout": self.readout,
        }
        write_json(folder / "refusal_feature.json", described)
        seal(folder)

    @classmethod
    def load(cls, folder: Path) -> "RefusalFeature":
        """Read what `save` wrote.

        Raises:
            StorageError: a file is missing, damaged or changed since, or a number in it is none.
        """
        require_sealed(folder, "run the step that makes this artifact again")
        file = folder / "refusal_feature.json"
        described: dict[str, Any] = read_json(file)
        tensors = read_tensors(folder / "refusal_feature.safetensors")
        with as_written(file):
            separations = tuple(Separation(**s) for s in described.pop("separations"))
            direction, midpoint = tensors["direction"], tensors["midpoint"]
            return cls(direction=direction, midpoint=midpoint, separations=separations, **described)
