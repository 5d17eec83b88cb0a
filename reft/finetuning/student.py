"""The student: rows in, finetuned weights out. The pipeline's steps and the comparison both train through here."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from reft.config import FinetuningSettings, ModelSettings
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import Encoded, encode, encode_all
from reft.conversations.wrapping import wrapped
from reft.errors import ConfigurationError, explain
from reft.finetuning.artifact import EPOCHS, Student
from reft.finetuning.checkpoints import last_step
from reft.finetuning.job import FinetuneJob, job_folder
from reft.finetuning.launch import run_finetune
from reft.finetuning.online_teacher import TeacherWeights
from reft.models.default_model import resolve_model
from reft.models.loading import load_tokenizer
from reft.runtime.progress import progress
from reft.soft_labels.agreement import require_labels_of, require_read_alike
from reft.soft_labels.labels import SoftLabels
from reft.storage.artifacts import scratch_folder, written
from reft.teacher.artifact import Teacher

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# (job, its folder, called with each step's metrics) -> the folder of the result
RunJob = Callable[[FinetuneJob, Path, Callable[[dict[str, float]], None]], Path]


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """What keeps a student safe: the provider's rows, and what the teacher says of them.

    Attributes:
        harmful, harmless: alignment rows, each with its answer.
        teacher: soft labels of these rows in that order, or the teacher itself; None: the rows alone.
    """

    harmful: Sequence[Conversation] = ()
    harmless: Sequence[Conversation] = ()
    teacher: SoftLabels | TeacherWeights | None = None

    @cached_property
    def rows(self) -> list[Conversation]:
        """All of them, harmful ones first."""
        return [*self.harmful, *self.harmless]


def student_job(
    rows: Sequence[Conversation],
    model: ModelSettings,
    settings: FinetuningSettings,
    *,
    seed: int,
    alignment: Alignment | None = None,
    start: Path | None = None,
    beside: Path | None = None,
) -> FinetuneJob:
    """Everything that the training processes need, tokenised.

    Args:
        settings: `settings.method` says how the student learns; passes are counted over these rows, unless they are
            counted already (`settings.counted`).
        start: folder of the adapter to begin as (`starts_as`).
        beside: folder of an adapter that is active and frozen meanwhile.

    Raises:
        DataValidationError: a row is longer than `model.max_length`.
        ConfigurationError: the teacher reads the alignment rows otherwise than the student.
    """
    alignment = alignment or Alignment()
    model = model.model_copy(update={"name": resolve_model(model.name)})
    tokenizer = load_tokenizer(model.name, model.chat_template, model.trust_remote_code)
    teacher, alone = alignment.teacher, _alone(alignment, model, tokenizer)
    among = wrapped(alignment.rows, rows, share=settings.wrapped_share if teacher else 0.0, seed=seed)
    longer = {i: encode(tokenizer, row) for i, row in enumerate(among) if row is not alignment.rows[i]}
    # What would be too long so is asked alone.
    asked = [longer[i] if i in longer and len(longer[i]) <= model.max_length else row for i, row in enumerate(alone)]
    return FinetuneJob(
        model=model,
        settings=settings.counted(len(rows)),
        seed=seed,
        user=tuple(encode_all(tokenizer, rows, model.max_length)),
        row_numbers=tuple(row.row for row in rows),
        alignment=tuple(asked),
        taught=tuple(alone) if longer and isinstance(teacher, TeacherWeights) else (),
        soft_labels=teacher if isinstance(teacher, SoftLabels) else None,
        harmful=len(alignment.harmful),
        sources=tuple(row.source for row in alignment.rows),
        teacher=teacher if isinstance(teacher, TeacherWeights) else None,
        start=start,
        beside=beside,
    )


def _alone(alignment: Alignment, model: ModelSettings, tokenizer: "PreTrainedTokenizerBase") -> list[Encoded]:
    """The alignment rows as they are, once it is seen that the teacher's word fits them."""
    encoded = encode_all(tokenizer, alignment.rows, model.max_length)
    if alignment.teacher is not None:
        require_read_alike(alignment.rows, model)
    if isinstance(alignment.teacher, SoftLabels):
        require_labels_of(alignment.teacher, encoded)
    return encoded


def starts_as(teacher: Teacher, model: ModelSettings, settings: FinetuningSettings) -> Path | None:
    """The teacher's adapter, where the settings let the student begin as it; None: it begins as the base model.

    Raises:
        ConfigurationError: it shall, and the teacher is no such adapter of this base model.
    """
    fits = settings.may_start_as(teacher.lora, model)
    if not fits and settings.start == "teacher":
        what = "the student cannot start from a teacher that is no adapter of the same model and kind"
        remedy = "make teacher.lora and finetuning.lora alike (the former may lie on fewer modules) and leave "
        remedy += "model.aligned out, or say base"
        raise ConfigurationError(explain(what, "finetuning.start", remedy))
    return teacher.weights if fits else None


def fit_student(
    name: str,
    job: FinetuneJob,
    *,
    log: Callable[[dict[str, float]], None] | None = None,
    run: RunJob = run_finetune,
) -> tuple[Student, int]:
    """Finetune as the job says; returns the student and how many tokens it was trained on.

    Args:
        name: what the progress calls it.
        log: called with each step's losses.
        run: where its processes run; on this machine unless told otherwise.
    """
    settings, show = job.settings, progress(f"finetuning ({name})")
    history: list[dict[str, float]] = []
    done = 0

    def report(metrics: dict[str, float]) -> None:
        if metrics["step"] > done:  # the steps before a resumed training's checkpoint took no time now
            show(int(metrics["step"]), int(metrics["steps"]))
        history.append(metrics)
        if log:
            log(metrics)

    with job_folder(job, Path(settings.work_folder)) as folder:
        # Out of the job's folder, which ends here, and into one that lasts until the result is stored.
        done = last_step(folder)
        output, goal = run(job, folder, report), scratch_folder("student")
        with written(goal, "free some disk space or set TMPDIR to another folder; it goes on from its last checkpoint"):
            weights = Path(shutil.move(output, goal))
            if (folder / EPOCHS).is_dir():
                shutil.move(folder / EPOCHS, goal)
    is_adapter = settings.lora is not None and not settings.merged
    return Student(weights, is_adapter, len(job.user), history), int(history[-1]["tokens"])
