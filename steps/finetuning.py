"""Step finetuning: the student, on the rows that the filter kept."""

from typing import Annotated, Any

from zenml import step

from reft.cluster.finetuning import launcher
from reft.config import ClusterSettings, DataSettings, FinetuningSettings, ModelSettings
from reft.filtering.artifact import FilteredData
from reft.finetuning.artifact import Student
from reft.finetuning.online_teacher import TeacherWeights
from reft.finetuning.student import Alignment, fit_student, starts_as, student_job
from reft.soft_labels.labels import SoftLabels
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import alignment_rows, start_model
from reft.tracking.logging import log_losses, log_settings
from steps.materializer import FolderMaterializer
from steps.metadata import measured_step


@step(experiment_tracker=True, output_materializers={"student": FolderMaterializer})
def finetuning(
    filtered: FilteredData,
    model: ModelSettings,
    data: DataSettings,
    *,
    settings: FinetuningSettings,
    cluster: ClusterSettings,
    temperature: float,
    seed: int,
    key: dict[str, Any],
    teacher: Teacher,
    soft_labels: SoftLabels | None = None,
) -> Annotated[Student, "student"]:
    """The student on the kept rows, with the teacher's soft labels, or with the teacher itself in memory."""
    harmful, harmless = alignment_rows(data)
    source: SoftLabels | TeacherWeights | None = soft_labels
    if soft_labels is None:
        source = TeacherWeights(teacher.weights, teacher.is_adapter, start_model(model), temperature)
    start = starts_as(teacher, model, settings)
    counted = settings.counted(len(filtered.decisions))  # as often as without a filter
    log_settings("finetuning", counted.model_dump())
    with measured_step("finetuning") as cost:
        alignment = Alignment(harmful=harmful, harmless=harmless, teacher=source)
        job = student_job(filtered.kept, model, counted, seed=seed, alignment=alignment, start=start)
        student, cost.tokens = fit_student(
            "finetuning", job, log=log_losses("finetuning"), run=launcher(settings, cluster)
        )
    return student
