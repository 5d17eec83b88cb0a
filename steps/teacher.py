"""Step teacher: trained on the provider's rows, which no customer's data enters."""

from typing import Annotated, Any

from zenml import step

from reft.config import DataSettings, ModelSettings, RefusalFeatureSettings, TeacherSettings
from reft.refusal_feature.feature import RefusalFeature
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import make_teacher
from reft.tracking.logging import log_losses, log_metrics, log_settings
from steps.materializer import FolderMaterializer
from steps.metadata import measured_step


@step(experiment_tracker=True, output_materializers={"teacher": FolderMaterializer})
def teacher(
    feature: RefusalFeature,
    model: ModelSettings,
    data: DataSettings,
    *,
    settings: TeacherSettings,
    selection: RefusalFeatureSettings,
    seed: int,
    key: dict[str, Any],
) -> Annotated[Teacher, "teacher"]:
    """Train the teacher, then read its own refusal feature, which must beat the untrained one."""
    with measured_step("teacher") as cost:
        made, cost.tokens = make_teacher(
            feature, model, data, settings=settings, selection=selection, seed=seed, log=log_losses("teacher")
        )
    log_settings("teacher", settings.model_dump())
    aurocs = {"auroc": made.feature.auroc(), "untrained_auroc": feature.auroc()}
    log_metrics("teacher", {**aurocs, "seconds": cost.seconds})
    return made
