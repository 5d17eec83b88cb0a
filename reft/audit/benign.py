"""The calibration: what audits of benign jobs measured, for which circumstances that holds, and its file."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reft.audit.score import BenignJob
from reft.config import DataSettings, FinetuningSettings
from reft.config.training import HOW_IT_RUNS
from reft.errors import DataFormatError, StorageError, explain, parts
from reft.storage.artifacts import as_written, read_json, write_json

FORMAT = 2
REMEDY = "measure again (python -m benchmarks.audit), or set data.audit_benign to null: uncalibrated"
# What of a training is no hyperparameter: how it is carried out, what is written of it, and what is compared by itself.
APART = {*HOW_IT_RUNS, "zero_stage", "deepspeed", "merged", "kept_epochs", "seed", "method"}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The circumstances of an audit.

    Those that a provider decides must be the calibration's; how a customer has his job trained may differ, and is told.

    Attributes:
        asked: digest of what was asked and of the settings that decide a value.
        model: digest of the base model.
        chat_template: digest of its name or file.
        method: how students learn.
        training: the settings of that.
    """

    asked: str
    model: str
    chat_template: str
    method: str
    training: dict[str, Any] = field(default_factory=dict)

    def unfit(self, measured: "Setup") -> str:
        """Why what was `measured` says nothing about an audit in these circumstances; empty where it does."""
        if measured.asked != self.asked:
            return "the benign jobs were asked otherwise: other prompts, or other settings of section audit"
        if measured.model != self.model:
            return "the benign jobs are of another base model"
        if measured.chat_template != self.chat_template:
            return "the benign jobs were asked by another chat template"
        if measured.method != self.method:
            return f"the benign jobs were trained by {measured.method}, this student by {self.method}"
        return ""

    def unlike(self, measured: "Setup") -> list[str]:
        """The settings in which a training differs from the benign jobs'; one that came later had its default then."""
        theirs = training_of(FinetuningSettings()) | measured.training
        both = [name for name in self.training if name in theirs and self.training[name] != theirs[name]]
        return [f"{name} {_shown(self.training[name])} (theirs {_shown(theirs[name])})" for name in both]


def training_of(settings: FinetuningSettings) -> dict[str, Any]:
    """What of the settings decides what is learnt; without passes that were not counted."""
    made = settings.model_dump(mode="json", exclude=APART)
    return {name: value for name, value in made.items() if (name, value) != ("epochs", "auto")}


@dataclass(frozen=True, kw_only=True)
class Benign:
    """What audits of benign jobs measured, as `benchmarks.audit` writes it; `code`: digests of what made the jobs."""

    setup: Setup
    jobs: tuple[BenignJob, ...]
    code: tuple[str, ...] = ()

    @property
    def rows(self) -> str:
        """How many rows the jobs had, in words."""
        found = sorted({job.rows for job in self.jobs})
        return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"

    def had(self, rows: int) -> bool:
        """Whether jobs of so many rows, or of fewer and of more, are among them."""
        sizes = [job.rows for job in self.jobs]
        return min(sizes) <= rows <= max(sizes)

    def save(self, path: Path) -> None:
        """Write JSON."""
        write_json(path, {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> "Benign":
        """Read what `save` wrote.

        Raises:
            StorageError: it is not there, or is no JSON of this shape.
            DataFormatError: it is of another format, or a value is missing or no number.
        """
        try:
            benign = cls._read(path, read_json(path))
        except StorageError as error:
            what, where, _ = parts(error)
            raise StorageError(explain(what, where, REMEDY)) from error
        for number, job in enumerate(benign.jobs):
            if set(job.values) != set(benign.jobs[0].values) or not np.isfinite(list(job.values.values())).all():
                raise DataFormatError(explain("a benign job without all values", f"{path}, job {number}", REMEDY))
        return benign

    @classmethod
    def _read(cls, path: Path, found: dict[str, Any]) -> "Benign":
        with as_written(path):
            if (form := found.get("format", 1)) != FORMAT:
                what = f"a calibration of format {form}, and this release reads {FORMAT}"
                raise DataFormatError(explain(what, str(path), REMEDY))
            jobs = tuple(_job(job) for job in found["jobs"])
            return cls(setup=Setup(**found["setup"]), jobs=jobs, code=tuple(found["code"]))


def benign_jobs(data: DataSettings) -> Benign | None:
    """What audits are calibrated on; None where the settings name no file.

    Raises:
        StorageError: the file is missing or damaged.
        DataFormatError: it is of another format, or a value is missing.
    """
    return Benign.load(Path(data.audit_benign)) if data.audit_benign else None


def _job(found: dict[str, Any]) -> BenignJob:
    values = {str(name): float(value) for name, value in found["values"].items()}
    return BenignJob(task=str(found["task"]), seed=int(found["seed"]), rows=int(found["rows"]), values=values)


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value}"
