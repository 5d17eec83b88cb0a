"""The finetuned student as it is handed on."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from reft.storage.artifacts import read_json, write_json


@dataclass(frozen=True)
class Student:
    """A finetuned model: a PEFT adapter or full weights, with the tokenizer, and its losses by step."""

    weights: Path
    is_adapter: bool
    rows: int
    history: list[dict[str, float]]

    def save(self, folder: Path) -> None:
        """Copy the weights and write the history."""
        shutil.copytree(self.weights, folder / "weights")
        described = {"is_adapter": self.is_adapter, "rows": self.rows, "history": self.history}
        write_json(folder / "student.json", described)

    @classmethod
    def load(cls, folder: Path) -> "Student":
        """Read what `save` wrote; the weights stay in this folder."""
        return cls(folder / "weights", **read_json(folder / "student.json"))
