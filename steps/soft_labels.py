"""Step soft_labels: what the frozen teacher predicts, computed once for all customers."""

from typing import Annotated, Any

from zenml import step

from reft.config import DataSettings, ModelSettings, SoftLabelSettings
from reft.soft_labels.labels import SoftLabels
from reft.soft_labels.making import make_soft_labels
from reft.teacher.artifact import Teacher
from reft.tracking.logging import log_metrics
from steps.materializer import FolderMaterializer
from steps.metadata import measured_step


@step(experiment_tracker=True, output_materializers={"soft_labels": FolderMaterializer})
def soft_labels(
    teacher: Teacher, model: ModelSettings, data: DataSettings, *, settings: SoftLabelSettings, key: dict[str, Any]
) -> Annotated[SoftLabels, "soft_labels"]:
    """The frozen teacher's predictions on the alignment rows, stored sparsely."""
    with measured_step("soft_labels") as cost:
        labels, cost.tokens = make_soft_labels(teacher, model, data, settings=settings)
    log_metrics("soft_labels", {"tokens": len(labels.log_probs), "seconds": cost.seconds})
    return labels
