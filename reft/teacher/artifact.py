"""The trained teacher as it is handed on: weights or adapter, its refusal feature, and the floor it must beat."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft.config import LoraSettings
from reft.refusal_feature.feature import RefusalFeature
from reft.refusal_feature.layered import LayeredFeature
from reft.storage.artifacts import as_written, read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained teacher.

    Attributes:
        weights: folder of a PEFT adapter, or of a full model.
        is_adapter: which of the two.
        lora: what kind of adapter; None where it is none, or was not written down (before 0.3).
        feature: the refusal feature read from the trained teacher.
        untrained: the one read before training, at its own best layer: the floor.
        history: losses by step.
        layered: the same feature over many layers, which the filter reads; None in a teacher of before 0.3.
    """

    weights: Path
    is_adapter: bool
    feature: RefusalFeature
    untrained: RefusalFeature
    history: list[dict[str, float]]
    layered: LayeredFeature | None = None
    lora: LoraSettings | None = None

    @property
    def beats_untrained(self) -> bool:
        """Whether training improved the separation of held-out prompts."""
        return self.feature.auroc() > self.untrained.auroc()

    def save(self, folder: Path) -> None:
        """Copy the weights and write the features and the history."""
        shutil.copytree(self.weights, folder / "weights")
        self.feature.save(folder / "feature")
        self.untrained.save(folder / "untrained")
        if self.layered:
            self.layered.save(folder / "layered")
        lora = self.lora.model_dump() if self.lora else None
        write_json(folder / "teacher.json", {"is_adapter": self.is_adapter, "lora": lora, "history": self.history})

    @classmethod
    def load(cls, folder: Path) -> "Teacher":
        """Read what `save` wrote; the weights stay in this folder.

        Raises:
            StorageError: a file is missing, damaged or changed since.
        """
        described: dict[str, Any] = read_json(folder / "teacher.json")
        with as_written(folder / "teacher.json"):
            is_adapter, history, lora = described["is_adapter"], described["history"], described.get("lora")
        return cls(
            weights=folder / "weights",
            is_adapter=is_adapter,
            feature=RefusalFeature.load(folder / "feature"),
            untrained=RefusalFeature.load(folder / "untrained"),
            history=history,
            layered=LayeredFeature.load(folder / "layered") if (folder / "layered").is_dir() else None,
            lora=LoraSettings(**lora) if lora else None,
        )
