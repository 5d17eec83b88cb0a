"""What the training processes are told: one folder with the job's description and its data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft.artifacts import read_json, write_json
from reft.config import FinetuneSettings, ModelSettings
from reft.conversations.tokenization import Encoded
from reft.distillation.soft_labels import SoftLabels


@dataclass(frozen=True)
class FinetuneJob:
    """Everything a rank needs, on disk, since it shares no memory with the step that started it.

    Attributes:
        user: tokenised user rows to learn.
        alignment: tokenised alignment rows, as many as the soft labels have; empty for a plain finetune.
        harmful: how many of the alignment rows, the first ones, have harmful prompts.
        soft_labels: the teacher's, or None for a plain finetune.
        row_numbers: the user rows' numbers in the uploaded file, to name a batch that goes wrong.
    """

    model: ModelSettings
    settings: FinetuneSettings
    seed: int
    user: tuple[Encoded, ...]
    row_numbers: tuple[int, ...]
    alignment: tuple[Encoded, ...] = ()
    soft_labels: SoftLabels | None = None
    harmful: int = 0

    def save(self, folder: Path) -> None:
        """Write `job.json` and, if any, the soft labels."""
        if self.soft_labels is not None:
            self.soft_labels.save(folder)
        described = {
            "model": self.model.model_dump(),
            "settings": self.settings.model_dump(),
            "seed": self.seed,
            "user": [_pack(row) for row in self.user],
            "row_numbers": self.row_numbers,
            "alignment": [_pack(row) for row in self.alignment],
            "harmful": self.harmful,
            "distil": self.soft_labels is not None,
        }
        write_json(folder / "job.json", described)

    @classmethod
    def load(cls, folder: Path) -> "FinetuneJob":
        """Read what `save` wrote."""
        described = read_json(folder / "job.json")
        return cls(
            ModelSettings(**described["model"]),
            FinetuneSettings(**described["settings"]),
            described["seed"],
            tuple(_unpack(row) for row in described["user"]),
            tuple(described["row_numbers"]),
            tuple(_unpack(row) for row in described["alignment"]),
            SoftLabels.load(folder) if described["distil"] else None,
            described["harmful"],
        )


def _pack(row: Encoded) -> dict[str, Any]:
    return {"ids": row.input_ids, "completion": row.completion}


def _unpack(value: dict[str, Any]) -> Encoded:
    start, end = value["completion"]
    return Encoded(tuple(value["ids"]), (), (start, end), start - 1, start - 1)
