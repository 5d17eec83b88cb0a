"""Step filter_data."""

from typing import Annotated

from zenml import step

from reft.config import DataSettings, FilterSettings, ModelSettings
from reft.conversations.tokenization import encode_all
from reft.cost import measured
from reft.filtering.artifact import FilteredData
from reft.filtering.run import filter_rows
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer
from reft.progress import progress
from reft.teacher.artifact import Teacher
from reft.tracking.logging import log_metrics, log_settings
from reft.validation.validate import ValidatedData
from steps.data import labels_of
from steps.materializer import FolderMaterializer
from steps.teacher import calibration_prompts, load_teacher, start_model


@step(experiment_tracker=True, output_materializers={"filtered": FolderMaterializer})
def filter_data(
    validated: ValidatedData,
    teacher: Teacher,
    model: ModelSettings,
    data: DataSettings,
    settings: FilterSettings,
    fingerprint: str,
) -> tuple[Annotated[FilteredData, "filtered"], Annotated[dict[str, float], "filter_cost"]]:
    """Score every row with the teacher, or with the untrained feature where that separates better."""
    with measured() as cost:
        if teacher.beats_untrained:
            (loaded, tokenizer), feature, scorer = load_teacher(teacher, model), teacher.feature, "teacher"
        else:
            dtype = choose_hardware(model.dtype).dtype
            loaded = load_model(start_model(model), dtype, trust_remote_code=model.trust_remote_code)
            tokenizer = load_tokenizer(start_model(model), model.chat_template, model.trust_remote_code)
            feature, scorer = teacher.untrained, "untrained"
        filtered = filter_rows(
            loaded, tokenizer, validated.rows, feature, calibration_prompts(data), settings, scorer,
            teacher.feature.auroc(), teacher.untrained.auroc(), labels_of(data), progress("scoring rows"),
        )  # fmt: skip
        cost.tokens = sum(map(len, encode_all(tokenizer, validated.rows)))
    report = filtered.report
    log_settings("filter", settings.model_dump())
    log_metrics(
        "filter",
        {
            "kept": report.kept,
            "dropped": report.dropped,
            "quarantined": report.quarantined,
            "threshold": report.thresholds.drop,
            "auroc": report.auroc,
            "recall": report.recall and report.recall.value,
            "fpr": report.fpr and report.fpr.value,
            "seconds": cost.seconds,
        },
    )
    return filtered, cost.as_dict()
