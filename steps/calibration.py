"""Step calibration: what the chosen scorer says of the provider's rows, scored once for all customers."""

from typing import Annotated, Any

from zenml import step

from reft.config import Settings
from reft.filtering.inputs import inputs_of_run
from reft.filtering.provider import ProviderScores, provider_scores
from reft.filtering.scorers import load_scorer, untrained_beside
from reft.filtering.unseen import provider_groups
from reft.runtime.progress import progress
from reft.teacher.artifact import Teacher
from steps.materializer import FolderMaterializer
from steps.metadata import measured_step


@step(output_materializers={"calibration": FolderMaterializer})
def calibration(
    teacher: Teacher, settings: Settings, *, key: dict[str, Any]
) -> Annotated[ProviderScores, "calibration"]:
    """Score the calibration rows and the unseen groups; `settings` holds the sections that this step reads."""
    with measured_step("calibration"):
        inputs = inputs_of_run(teacher, settings)
        scorer = load_scorer(settings.filtering.scorer, inputs)
        groups = provider_groups(settings.data, settings.evaluation)
        return provider_scores(
            scorer, untrained_beside(scorer, inputs), groups=groups, settings=settings.filtering,
            report=progress("calibrating"),
        )  # fmt: skip
