"""Step filter_data."""

from dataclasses import replace
from typing import Annotated

from zenml import step

from reft.config import DataSettings, EvaluationSettings, FilterSettings, ModelSettings
from reft.conversations.tokenization import encode_all
from reft.cost import measured
from reft.evaluation.asking import evaluation_sets
from reft.filtering.artifact import FilteredData
from reft.filtering.run import filter_rows
from reft.filtering.scoring import score_rows
from reft.filtering.unseen import HARMFUL, unseen_groups
from reft.progress import progress
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import calibration_prompts, load_start, load_teacher
from reft.tracking.logging import log_metrics, log_settings
from reft.validation.validate import ValidatedData
from steps.data import labels_of
from steps.materializer import FolderMaterializer


@step(experiment_tracker=True, output_materializers={"filtered": FolderMaterializer})
def filter_data(
    validated: ValidatedData,
    teacher: Teacher,
    model: ModelSettings,
    data: DataSettings,
    settings: FilterSettings,
    evaluation: EvaluationSettings,
    fingerprint: str,
) -> tuple[Annotated[FilteredData, "filtered"], Annotated[dict[str, float], "filter_cost"]]:
    """Score every row with the teacher, or with the untrained feature where that separates better."""
    sets = evaluation_sets(data, evaluation)
    unseen = {
        HARMFUL: sets.harmful,
        "benign look-alikes": sets.lookalikes,
        "ordinary prompts": sets.ordinary,
        "task rows": sets.task,
    }

    def unseen_scores(loaded, tokenizer, feature) -> dict[str, list[float]]:
        return {
            name: [row.deciding.score for row in score_rows(loaded, tokenizer, rows, feature, settings)] if rows else []
            for name, rows in unseen.items()
        }

    with measured("filter_data") as cost:
        name = "teacher" if teacher.beats_untrained else "untrained"
        loaded, tokenizer, feature = _scorer(name, teacher, model)
        filtered = filter_rows(
            loaded, tokenizer, validated.rows, feature, calibration_prompts(data), settings, name,
            teacher.feature.auroc(), teacher.untrained.auroc(), labels_of(data), progress("scoring rows"),
        )  # fmt: skip
        scores = unseen_scores(loaded, tokenizer, feature)
        untrained = scores if name == "untrained" else unseen_scores(*_scorer("untrained", teacher, model))
        filtered = replace(filtered, unseen=unseen_groups(scores, untrained, filtered.report.thresholds))
        cost.tokens = sum(map(len, encode_all(tokenizer, validated.rows)))
    log_settings("filter", settings.model_dump())
    log_metrics("filter", {**_figures(filtered), "seconds": cost.seconds})
    return filtered, cost.as_dict()


def _figures(filtered: FilteredData) -> dict[str, float | None]:
    """What MLflow draws of a filtering."""
    report = filtered.report
    return {
        "kept": report.kept,
        "dropped": report.dropped,
        "quarantined": report.quarantined,
        "threshold": report.thresholds.drop,
        "auroc": report.auroc,
        "recall": report.recall.value if report.recall else None,
        "fpr": report.fpr.value if report.fpr else None,
        **{f"unseen_auroc/{group.name}": group.auroc for group in filtered.unseen},
    }


def _scorer(name: str, teacher: Teacher, model: ModelSettings):
    """The model, tokenizer and refusal feature of the trained teacher, or of the untrained start."""
    if name == "teacher":
        return *load_teacher(teacher, model, teacher.feature.layer), teacher.feature
    return *load_start(model, teacher.untrained.layer), teacher.untrained
