"""All models' scores as they are handed on."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reft.evaluation.evaluate import ModelScores
from reft.statistics import Interval
from reft.storage.artifacts import read_json, write_json


@dataclass(frozen=True)
class EvaluationReport:
    """What an evaluation found.

    Attributes:
        models: scores by model: "student", and where they were evaluated "sft", "base" and "aligned".
        rows: a digest of what every model was asked.
        golden: answers before and after, side by side, as `golden.side_by_side` has them.
    """

    models: dict[str, ModelScores]
    rows: str = ""
    golden: list[dict[str, Any]] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write `evaluation.json`."""
        write_json(folder / "evaluation.json", {"rows": self.rows, "models": self.models, "golden": self.golden})

    @classmethod
    def load(cls, folder: Path) -> "EvaluationReport":
        """Read what `save` wrote."""
        stored = read_json(folder / "evaluation.json")
        models = {name: scores_from(value) for name, value in stored["models"].items()}
        return cls(models, stored["rows"], stored.get("golden", []))


def scores_from(value: dict[str, Any]) -> ModelScores:
    """Scores out of JSON."""
    rates = {name: Interval(**found) if found else None for name, found in value["rates"].items()}
    answers = [(a, b, c) for a, b, c in value["answers"]]
    by_source, by_kind = (
        {name: {key: Interval(**one) for key, one in found.items()} for name, found in value.get(by, {}).items()}
        for by in ("by_source", "by_kind")
    )
    return ModelScores(
        rates=rates,
        by_source=by_source,
        by_kind=by_kind,
        outcomes=value["outcomes"],
        answers=answers,
        tokens=value["tokens"],
    )


def scores_as_dict(scores: ModelScores) -> dict[str, Any]:
    """Scores for JSON."""
    return asdict(scores)
