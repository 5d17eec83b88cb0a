"""The finetuned student as it is handed on."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from reft.storage.artifacts import read_json, write_json

EPOCHS = "epochs"


def epoch_place(folder: Path, step: int) -> Path:
    """Where in a folder the state at the end of an epoch lies."""
    return folder / EPOCHS / f"step-{step}"


def epochs_in(folder: Path) -> dict[int, Path]:
    """The states of a training at the ends of earlier epochs, by their steps, in order."""
    found = {int(place.name.removeprefix("step-")): place for place in (folder / EPOCHS).glob("step-*[0-9]")}
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Student:
    """A finetuned model: a PEFT adapter or full weights, with the tokenizer, and its losses by step.

    What it was at the ends of earlier epochs lies beside the weights, where such states are kept.
    """

    weights: Path
    is_adapter: bool
    rows: int
    history: list[dict[str, float]]

    @property
    def epochs(self) -> dict[int, Path]:
        """Weights at the ends of earlier epochs, by their steps, in order."""
        return epochs_in(self.weights.parent)

    def save(self, folder: Path) -> None:
        """Copy the weights and write the history."""
        shutil.copytree(self.weights, folder / "weights")
        for step, state in self.epochs.items():
            shutil.copytree(state, epoch_place(folder, step))
        described = {"is_adapter": self.is_adapter, "rows": self.rows, "history": self.history}
        write_json(folder / "student.json", described)

    @classmethod
    def load(cls, folder: Path) -> "Student":
        """Read what `save` wrote; the weights stay in this folder."""
        return cls(folder / "weights", **read_json(folder / "student.json"))
