"""Steps finetune and finetune_plain: the student, and for comparison a plain finetune of every usable row."""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from zenml import step

from reft.artifacts import scratch_folder
from reft.cluster.finetune import run_on_cluster
from reft.config import ClusterSettings, DataSettings, FinetuneSettings, ModelSettings
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode_all
from reft.cost import Cost, measured
from reft.distillation.artifact import Student
from reft.distillation.checkpoints import last_step
from reft.distillation.job import FinetuneJob, job_folder
from reft.distillation.launch import run_finetune
from reft.distillation.online import TeacherWeights
from reft.distillation.soft_labels import SoftLabels
from reft.filtering.artifact import FilteredData
from reft.models.default_model import resolve_model
from reft.models.loading import load_tokenizer
from reft.progress import progress
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import alignment_rows, start_model
from reft.tracking.logging import log_losses, log_settings
from reft.validation.validate import ValidatedData
from steps.materializer import FolderMaterializer


@step(experiment_tracker=True, output_materializers={"student": FolderMaterializer})
def finetune(
    filtered: FilteredData,
    model: ModelSettings,
    data: DataSettings,
    settings: FinetuneSettings,
    temperature: float,
    seed: int,
    fingerprint: str,
    soft_labels: SoftLabels | None = None,
    teacher: Teacher | None = None,
    cluster: ClusterSettings = ClusterSettings(),  # noqa: B008 (it cannot change)
) -> tuple[Annotated[Student, "student"], Annotated[dict[str, float], "finetune_cost"]]:
    """The base model on the kept rows, with the teacher's soft labels, or with the teacher itself beside it."""
    harmful, harmless = alignment_rows(data)
    log_settings("finetune", settings.model_dump())
    source: SoftLabels | TeacherWeights | None = soft_labels
    if teacher is not None:
        source = TeacherWeights(teacher.weights, teacher.is_adapter, start_model(model), temperature)
    student, cost = fit_student(
        "finetune", filtered.kept, model, settings, seed, (harmful, harmless), source, log_losses("finetune"), cluster
    )
    return student, cost.as_dict()


@step(experiment_tracker=True, output_materializers={"plain_sft": FolderMaterializer})
def finetune_plain(
    validated: ValidatedData,
    model: ModelSettings,
    settings: FinetuneSettings,
    seed: int,
    fingerprint: str,
    cluster: ClusterSettings = ClusterSettings(),  # noqa: B008 (it cannot change)
) -> tuple[Annotated[Student, "plain_sft"], Annotated[dict[str, float], "plain_sft_cost"]]:
    """The base model on every usable row, unfiltered: what the customer would get without ReFT."""
    student, cost = fit_student(
        "plain_sft", validated.rows, model, settings, seed, log=log_losses("plain_sft"), cluster=cluster
    )
    return student, cost.as_dict()


def fit_student(
    name: str,
    rows: list[Conversation],
    model: ModelSettings,
    settings: FinetuneSettings,
    seed: int,
    alignment: tuple[Sequence[Conversation], Sequence[Conversation]] = ((), ()),
    teacher: SoftLabels | TeacherWeights | None = None,
    log: Callable[[dict[str, float]], None] | None = None,
    cluster: ClusterSettings | None = None,
) -> tuple[Student, Cost]:
    """Finetune the base model, distilled where there is a teacher; `log` is called with each step's losses.

    Args:
        cluster: where it runs if `settings.launcher` is trainjob.
    """
    model = model.model_copy(update={"name": resolve_model(model.name)})
    tokenizer = load_tokenizer(model.name, model.chat_template, model.trust_remote_code)
    job = FinetuneJob(
        model,
        settings,
        seed,
        tuple(encode_all(tokenizer, rows, model.max_length)),
        tuple(row.row for row in rows),
        tuple(encode_all(tokenizer, [*alignment[0], *alignment[1]], model.max_length)),
        teacher if isinstance(teacher, SoftLabels) else None,
        len(alignment[0]),
        teacher if isinstance(teacher, TeacherWeights) else None,
    )
    history: list[dict[str, float]] = []
    show = progress(f"finetuning ({name})")

    done = 0

    def report(metrics: dict[str, float]) -> None:
        if metrics["step"] > done:  # the steps before a resumed training's checkpoint took no time now
            show(int(metrics["step"]), int(metrics["steps"]))
        history.append(metrics)
        if log:
            log(metrics)

    with measured(name) as cost, job_folder(job, Path(settings.work_folder)) as folder:
        # Out of the job's folder, which ends here, and into one that lasts until the step's result is stored.
        done = last_step(folder)
        run = run_finetune if settings.launcher == "local" else partial(run_on_cluster, settings=cluster)
        weights = Path(shutil.move(run(job, folder, report), scratch_folder("student")))
    cost.tokens = int(history[-1]["tokens"])
    return Student(weights, settings.lora is not None and not settings.merged, len(rows), history), cost
