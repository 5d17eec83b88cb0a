"""An audit from what lies on disk: models are loaded one after the other, so that no two need fit into memory."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from reft.audit.audit import Student, audit_student
from reft.audit.benign import Benign, Setup, training_of
from reft.audit.own_rows import OwnRows, read_own
from reft.audit.probes import Outcomes
from reft.audit.reference import Questions, Reference, reference_of
from reft.audit.verdict import AuditReport
from reft.config import AuditSettings, DataSettings, FinetuningSettings, ModelSettings
from reft.conversations.schema import Conversation
from reft.errors import StorageError
from reft.keys.closure import digest_of_code
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer, load_trained
from reft.models.memory import collect_garbage
from reft.runtime.progress import progress
from reft.storage.fingerprint import of_path, of_text
from reft.storage.folders import replaced_folder
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import load_teacher


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished training.

    Attributes:
        weights: folder of a PEFT adapter or of a full model.
        rows: what it was trained on; none: nothing is asked with them.
        training: how it was trained.
        scores: the filter's, by row number.
        known: what it is known to do under a probe already.
    """

    weights: Path
    is_adapter: bool
    rows: Sequence[Conversation] = ()
    training: FinetuningSettings = field(default_factory=FinetuningSettings)
    scores: Mapping[int, float] | None = None
    known: Outcomes = field(default_factory=Outcomes)

    @property
    def trained(self) -> FinetuningSettings:
        """How it was trained, with the passes over the rows that were sent, as far as these are known.

        The filter has scores of all of them.
        """
        sent = len(self.scores or self.rows)
        return self.training.counted(sent) if sent else self.training


def make_reference(teacher: Teacher, model: ModelSettings, data: DataSettings, *, settings: AuditSettings) -> Reference:
    """The teacher and the base model under the probes.

    Raises:
        ModelError: one of them cannot be loaded.
    """
    base, dtype = resolve_model(model.name), choose_hardware(model.dtype).dtype
    return reference_of(
        lambda: load_teacher(teacher, model)[0],
        lambda: load_model(base, dtype, trust_remote_code=model.trust_remote_code),
        load_tokenizer(base, model.chat_template, model.trust_remote_code),
        feature=teacher.feature, questions=Questions.read(data, settings), settings=settings,
    )  # fmt: skip


def kept_reference(
    teacher: Teacher, model: ModelSettings, data: DataSettings, *, settings: AuditSettings, kept_in: Path
) -> Reference:
    """The same, asked once: it is found again by both models, the questions and the code that asks them.

    Args:
        kept_in: a folder of its own; one that cannot be written costs time, no more.

    Raises:
        ModelError: one of the models cannot be loaded.
    """
    parts = (
        of_path(teacher.weights),
        of_path(resolve_model(model.name)),
        model.model_dump_json(),
        digest_of_code(__name__),
    )
    folder = kept_in / of_text(Questions.read(data, settings).digest(settings), *parts)[:16]
    with suppress(StorageError):
        return Reference.load(folder)
    made = make_reference(teacher, model, data, settings=settings)
    with suppress(StorageError), replaced_folder(folder) as fresh:
        made.save(fresh)
    return made


def audit_finished(
    student: Finished,
    reference: Reference,
    model: ModelSettings,
    *,
    data: DataSettings,
    settings: AuditSettings,
    benign: Benign | None = None,
) -> AuditReport:
    """Mine the student's rows with the base model, then ask the student.

    Args:
        data: the prompts.
        benign: what it is calibrated on (`benign.benign_jobs`); None: uncalibrated, and everything is asked.

    Raises:
        ModelError: a model cannot be loaded.
    """
    base, dtype, trust = resolve_model(model.name), choose_hardware(model.dtype).dtype, model.trust_remote_code
    tokenizer, own = load_tokenizer(base, model.chat_template, trust), OwnRows()
    questions = Questions.read(data, settings)
    if student.rows and settings.mined_rows:
        untouched = load_model(base, dtype, trust_remote_code=trust)
        own = read_own(student.rows, untouched, tokenizer, settings=settings, scores=student.scores)
        del untouched
        collect_garbage()
    loaded = load_trained(base, student.weights, student.is_adapter, dtype=dtype, trust_remote_code=trust)
    return audit_student(
        Student(
            model=loaded, tokenizer=tokenizer, rows=len(student.rows), triggers=own.triggers, unusual=own.unusual,
            known=student.known,
        ),
        reference, questions, settings=settings, benign=benign,
        setup=setup_of(questions.digest(settings), model, student.trained) if benign else None,
        report=progress("auditing"),
    )  # fmt: skip


def setup_of(asked: str, model: ModelSettings, training: FinetuningSettings) -> Setup:
    """The circumstances of an audit that asks what has this digest."""
    return Setup(
        asked=asked, model=of_path(resolve_model(model.name)), chat_template=of_path(model.chat_template),
        method=training.method, training=training_of(training),
    )  # fmt: skip
