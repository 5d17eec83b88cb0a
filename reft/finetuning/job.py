"""What the training processes read: one folder with the job's description and its data."""

import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reft.config import FinetuningSettings, ModelSettings
from reft.config.training import HOW_IT_RUNS as HOW
from reft.conversations.tokenization import Encoded
from reft.errors import TrainingError, explain
from reft.finetuning.methods import load_method
from reft.finetuning.online_teacher import TeacherWeights
from reft.finetuning.schedule import MicroBatch, class_shares, plan_steps
from reft.keys.closure import digest_of_code
from reft.keys.stages import method_part
from reft.soft_labels.labels import SoftLabels
from reft.storage.artifacts import read_json, scratch, write_json, written
from reft.storage.fingerprint import of_path

# Written by rank 0 beside a result that is whole.
FINISHED = "finished"
# What a rank says that was told to go and has saved.
STOPPED = "stopped by SIGTERM and saved"
# What to do when the working folder cannot be written.
FULL_DISK = "free some disk space or set another finetuning.work_folder; it goes on from its last checkpoint"


@dataclass(frozen=True, kw_only=True)
class FinetuneJob:
    """Everything a rank needs, on disk, since it shares no memory with the step that started it.

    Attributes:
        user: tokenised user rows to learn; without any, the teacher alone is learnt from.
        alignment: tokenised alignment rows, as many as the soft labels have; empty for SFT.
        taught: the same rows as an online teacher reads them, with the same answers; empty: as the student does.
        harmful: how many of the alignment rows, the first ones, have harmful prompts.
        sources: where each alignment row comes from; empty: that is not known.
        soft_labels: the teacher's, made beforehand; None for SFT or an online teacher.
        teacher: the teacher itself, for online distillation.
        start: folder of the PEFT adapter that the student's begins as; None: one that changes nothing yet.
        beside: folder of a PEFT adapter that is active and frozen while the student's is trained, not in its result.
        row_numbers: the user rows' numbers in the uploaded file, to name a batch that goes wrong.
    """

    model: ModelSettings
    settings: FinetuningSettings
    seed: int
    user: tuple[Encoded, ...]
    row_numbers: tuple[int, ...]
    alignment: tuple[Encoded, ...] = ()
    taught: tuple[Encoded, ...] = ()
    soft_labels: SoftLabels | None = None
    harmful: int = 0
    sources: tuple[str, ...] = ()
    teacher: TeacherWeights | None = None
    start: Path | None = None
    beside: Path | None = None

    @property
    def temperature(self) -> float:
        """T of the distillation."""
        source = self.soft_labels or self.teacher
        return source.temperature if source else 1.0

    def plan(self) -> list[MicroBatch]:
        """Which rows each optimizer step may take, over all processes."""
        settings, method = self.settings, load_method(self.settings.method)
        ratio, least = settings.alignment_rows(as_teacher=self.start is not None)
        lengths = [len(row) for row in self.alignment]
        return plan_steps(
            [len(row) for row in self.user],
            (lengths[: self.harmful], lengths[self.harmful :]),
            class_shares(self.harmful, len(lengths), settings.harmful_share),
            batch_size=settings.batch_size,
            epochs=settings.passes(len(self.user)) * method.passes,
            alignment_ratio=ratio if method.alignment and method.planned else 0.0,
            seed=self.seed,
            least_alignment=least,
        )

    def kept_steps(self, plan: Sequence[MicroBatch]) -> tuple[int, ...]:
        """The steps (counted from 1) at the ends of the last epochs whose states are kept beside the result."""
        with_user = [number for number, step in enumerate(plan, start=1) if step.user] or range(1, len(plan) + 1)
        epochs = self.settings.passes(len(self.user))
        ends = [with_user[len(with_user) * done // epochs - 1] for done in range(1, epochs + 1)]
        return tuple(ends[-self.settings.kept_epochs : -1])

    def save(self, folder: Path) -> None:
        """Write `job.json` and, if any, the soft labels and the adapters that it is given."""
        for name in ("start", "beside"):
            if (adapter := getattr(self, name)) is not None:
                shutil.copytree(adapter, folder / name, dirs_exist_ok=True)
        if self.soft_labels is not None:
            self.soft_labels.save(folder)
        described = {
            "model": self.model.model_dump(),
            "settings": self.settings.model_dump(),
            "seed": self.seed,
            "user": [_pack(row) for row in self.user],
            "row_numbers": self.row_numbers,
            "alignment": [_pack(row) for row in self.alignment],
            "taught": [_pack(row) for row in self.taught],
            "harmful": self.harmful,
            "sources": self.sources,
            "distil": self.soft_labels is not None,
            "start": self.start is not None,
            "beside": self.beside is not None,
            "teacher": self.teacher and {**vars(self.teacher), "weights": str(self.teacher.weights)},
        }
        write_json(folder / "job.json", described)

    @classmethod
    def load(cls, folder: Path) -> "FinetuneJob":
        """Read what `save` wrote."""
        described = read_json(folder / "job.json")
        teacher = described["teacher"]
        return cls(
            model=ModelSettings(**described["model"]),
            settings=FinetuningSettings(**described["settings"]),
            seed=described["seed"],
            user=tuple(_unpack(row) for row in described["user"]),
            row_numbers=tuple(described["row_numbers"]),
            alignment=tuple(_unpack(row) for row in described["alignment"]),
            taught=tuple(_unpack(row) for row in described["taught"]),
            soft_labels=SoftLabels.load(folder) if described["distil"] else None,
            harmful=described["harmful"],
            sources=tuple(described["sources"]),
            teacher=TeacherWeights(Path(teacher.pop("weights")), **teacher) if teacher else None,
            start=folder / "start" if described["start"] else None,
            beside=folder / "beside" if described["beside"] else None,
        )


def what_comes_out(settings: FinetuningSettings) -> FinetuningSettings:
    """The settings with defaults for those that only say how a job is run."""
    plain = FinetuningSettings()
    return settings.model_copy(update={name: getattr(plain, name) for name in HOW})


@contextmanager
def job_folder(job: FinetuneJob, root: Path) -> Generator[Path]:
    """A folder for this very job: left as it is by a failure, found again by the same job, gone after success.

    Raises:
        TrainingError: another process is training the same job.
        StorageError: no folder can be made.
    """
    settings = what_comes_out(job.settings)
    with scratch("job") as described, written(described):
        replace(job, settings=settings, teacher=None).save(described)  # the teacher's content, not its place
        code = digest_of_code("reft.finetuning.worker", (method_part(job.settings.method),))
        parts = [of_path(str(described)), of_path(job.model.name), code]
    if job.teacher:
        parts += [of_path(str(job.teacher.weights)), of_path(job.teacher.base), str(job.temperature)]
    folder = root / blake2b(":".join(parts).encode(), digest_size=12).hexdigest()
    lock = FileLock(folder.with_suffix(".lock"), timeout=0)
    try:
        with written(root, FULL_DISK):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout as error:
        remedy = "wait for it, or give this job another finetuning.work_folder"
        raise TrainingError(explain("another process is training the same job", str(folder), remedy)) from error
    try:
        yield folder
        shutil.rmtree(folder)
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: who opened it before sees that it is gone
        lock.release()


def _pack(row: Encoded) -> dict[str, Any]:
    return {"ids": row.input_ids, "learnt": row.learnt}


def _unpack(value: dict[str, Any]) -> Encoded:
    """What training needs of a row; where its turns lie does not come along."""
    learnt = tuple((start, end) for start, end in value["learnt"])
    start, end = learnt[-1]
    return Encoded(
        input_ids=tuple(value["ids"]),
        turns=(),
        completion=(start, end),
        instruction_end=start - 1,
        prompt_end=start - 1,
        learnt=learnt,
    )
