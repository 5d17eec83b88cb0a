"""Step filtering: which of the customer's rows may be trained on."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from zenml import step

from reft.config import Settings
from reft.conversations.tokenization import encode_all
from reft.evaluation.questions import task_rows
from reft.filtering.artifact import FilteredData
from reft.filtering.filter import Filter
from reft.filtering.handover import leave_screening
from reft.filtering.inputs import inputs_of_run
from reft.filtering.overrides import read_overrides
from reft.filtering.provider import ProviderScores, scores_of
from reft.filtering.run import filter_rows, with_unseen
from reft.filtering.scorers import load_scorer, untrained_beside
from reft.filtering.unseen import TASK
from reft.models.loading import load_tokenizer
from reft.runtime.progress import progress
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import start_model
from reft.tracking.logging import log_metrics, log_settings
from reft.validation.labels import labels_of
from reft.validation.validate import ValidatedData
from steps.materializer import FolderMaterializer
from steps.metadata import measured_step


@step(experiment_tracker=True, output_materializers={"filtered": FolderMaterializer})
def filtering(
    validated: ValidatedData,
    teacher: Teacher,
    settings: Settings,
    *,
    provider: ProviderScores,
    key: dict[str, Any],
    leave: str = "",
) -> Annotated[FilteredData, "filtered"]:
    """Score every row with the chosen scorer and decide; `settings` holds the sections that this step reads.

    `leave` names a folder for the decisions, which are there before any training and also where all rows are removed.
    """
    with measured_step("filtering") as cost:
        inputs = inputs_of_run(teacher, settings)
        scorer = load_scorer(settings.filtering.scorer, inputs)
        chosen = Filter.calibrated(scorer, settings.filtering, scores=provider.calibration)
        labels = labels_of(settings.data)
        people = settings.data.overrides
        filtered = filter_rows(
            chosen, validated.rows, labels=labels, report=progress("scoring rows"),
            overrides=read_overrides(Path(people)) if people else None,
            decided=(lambda d: leave_screening(Path(leave), validated, chosen=chosen, decisions=d)) if leave else None,
        )  # fmt: skip
        aurocs = {"teacher_auroc": teacher.feature.auroc(), "untrained_auroc": teacher.untrained.auroc()}
        filtered = replace(filtered, report=replace(filtered.report, **aurocs))
        scores, untrained = provider.unseen, provider.untrained
        if rows := task_rows(settings.data, settings.evaluation):
            scores = scores | scores_of({TASK: rows}, scorer, settings.filtering)
            untrained = untrained | scores_of({TASK: rows}, untrained_beside(scorer, inputs), settings.filtering)
        filtered = with_unseen(filtered, chosen, scores=scores, untrained=untrained)
        model = settings.model
        tokenizer = load_tokenizer(start_model(model), model.chat_template, model.trust_remote_code)
        cost.tokens = sum(map(len, encode_all(tokenizer, validated.rows)))
    log_settings("filtering", settings.filtering.model_dump())
    log_metrics("filtering", {**_figures(filtered), "seconds": cost.seconds})
    return filtered


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
