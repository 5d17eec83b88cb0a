"""What a scorer is loaded from, and the folder in which a run leaves it for `reft scan`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reft.config import ModelSettings, Settings
from reft.conversations.reading import read_conversations
from reft.errors import StorageError, explain
from reft.refusal_feature.extraction import LabelledPrompts
from reft.refusal_feature.feature import RefusalFeature
from reft.storage.artifacts import as_written, read_json, write_json, write_text
from reft.storage.digests import require_sealed, seal
from reft.storage.fingerprint import of_path, of_text
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import calibration_prompts, untrained_feature

DEFAULT_TEACHER = Path("runs/latest/teacher")


@dataclass(frozen=True, kw_only=True)
class ScorerInputs:
    """What any scorer may be loaded from.

    Attributes:
        model: of the run; the teacher and the untrained feature belong to it.
        calibration: prompts that set the thresholds.
        teacher: None where none was trained; then `untrained` is given.
        untrained: the start model's own refusal feature.
        prefers_untrained: take that one even where the teacher separates better.
        options: `filtering.scorer_settings`.
        identity: a digest of all the above, where it was read from files.
    """

    model: ModelSettings
    calibration: LabelledPrompts
    untrained: RefusalFeature
    teacher: Teacher | None = None
    prefers_untrained: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    identity: str = ""

    def without_training(self) -> "ScorerInputs":
        """For the refusal feature's scorer: the untrained feature, whatever scorer and options were chosen."""
        return replace(self, prefers_untrained=True, options={})


def save_inputs(folder: Path, teacher: Teacher, *, model: ModelSettings, calibration: LabelledPrompts) -> None:
    """Write everything that `read_inputs` needs, but for the base model itself, and a digest of every file."""
    teacher.save(folder)
    write_json(folder / "scorer.json", {"model": model.model_dump(), "weights": calibration.harmless_weights})
    for name, rows in (("harmful", calibration.harmful), ("harmless", calibration.harmless)):
        write_text(folder / f"{name}.jsonl", "".join(row.original + "\n" for row in rows))
    seal(folder)


def read_inputs(folder: Path) -> ScorerInputs:
    """What `save_inputs` wrote.

    Raises:
        StorageError: the folder was not written by `save_inputs`, or a file in it was changed since.
    """
    if not (folder / "scorer.json").is_file():
        remedy = "make run leaves one in runs/latest/teacher; name another with --teacher, or scan with --teacher none"
        raise StorageError(explain("no teacher to score with", str(folder), remedy))
    require_sealed(folder, "copy the folder again from the run that made it, or train the teacher again (make run)")
    described, teacher = read_json(folder / "scorer.json"), Teacher.load(folder)
    harmful, harmless = (read_conversations(folder / f"{name}.jsonl") for name in ("harmful", "harmless"))
    with as_written(folder / "scorer.json"):
        model, weights = ModelSettings(**described["model"]), described["weights"]
    return ScorerInputs(
        model=model,
        calibration=LabelledPrompts(harmful, harmless, weights),
        untrained=teacher.untrained,
        teacher=teacher,
        identity=of_path(folder),
    )


def untrained_inputs(settings: Settings) -> ScorerInputs:
    """The untrained difference of means of the settings' model and rows, read anew (seconds)."""
    feature, _, _, calibration = untrained_feature(settings.model, settings.data, settings.refusal_feature)
    rows = [of_path(path) if isinstance(path, str) else str(path) for _, path in settings.data]
    identity = of_text(settings.model.model_dump_json(), settings.refusal_feature.model_dump_json(), *rows)
    return ScorerInputs(model=settings.model, calibration=calibration, untrained=feature, identity=identity)


def inputs_of_run(teacher: Teacher, settings: Settings) -> ScorerInputs:
    """In a run: the teacher that it has made, and its own calibration rows."""
    return ScorerInputs(
        model=settings.model,
        calibration=calibration_prompts(settings.data),
        untrained=teacher.untrained,
        teacher=teacher,
        options=settings.filtering.scorer_settings,
    )
