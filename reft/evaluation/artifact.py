"""All models' scores as they are handed on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft.artifacts import read_json, write_json
from reft.evaluation.evaluate import ModelScores
from reft.evaluation.statistics import Interval


@dataclass(frozen=True)
class EvaluationReport:
    """Scores by model: "student", and where they were evaluated "plain_sft", "base" and "aligned"."""

    models: dict[str, ModelScores]

    def save(self, folder: Path) -> None:
        """Write `evaluation.json`."""
        write_json(folder / "evaluation.json", self.models)

    @classmethod
    def load(cls, folder: Path) -> "EvaluationReport":
        """Read what `save` wrote."""
        return cls({name: _scores(value) for name, value in read_json(folder / "evaluation.json").items()})


def _scores(value: dict[str, Any]) -> ModelScores:
    answers, tokens = [(a, b, c) for a, b, c in value.pop("answers")], value.pop("tokens")
    rates = {k: Interval(**v) if v else None for k, v in value.items() if k != "outcomes"}
    return ModelScores(**rates, answers=answers, tokens=tokens, outcomes=value["outcomes"])
