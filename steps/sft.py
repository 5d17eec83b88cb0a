"""Step sft: for comparison, the base model on every usable row, without ReFT."""

from typing import Annotated, Any

from zenml import step

from reft.cluster.finetuning import launcher
from reft.config import ClusterSettings, FinetuningSettings, ModelSettings
from reft.finetuning.artifact import Student
from reft.finetuning.student import fit_student, student_job
from reft.tracking.logging import log_losses
from reft.validation.validate import ValidatedData
from steps.materializer import FolderMaterializer
from steps.metadata import measured_step


@step(experiment_tracker=True, output_materializers={"sft": FolderMaterializer})
def sft(
    validated: ValidatedData,
    model: ModelSettings,
    settings: FinetuningSettings,
    *,
    cluster: ClusterSettings,
    seed: int,
    key: dict[str, Any],
) -> Annotated[Student, "sft"]:
    """What the customer would get from plain supervised finetuning on the unfiltered rows."""
    with measured_step("sft") as cost:
        job = student_job(validated.rows, model, settings.for_method("sft"), seed=seed)
        student, cost.tokens = fit_student("sft", job, log=log_losses("sft"), run=launcher(settings, cluster))
    return student
