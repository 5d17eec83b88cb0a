"""Steps extract_refusal_feature, train_teacher and distill_soft_labels: the branch that no customer's data enters."""

from typing import Annotated

from zenml import step

from reft.artifacts import scratch_folder
from reft.config import DataSettings, FeatureSettings, ModelSettings, SoftLabelSettings, TeacherSettings
from reft.conversations.tokenization import encode_all
from reft.cost import measured
from reft.distillation.soft_labels import SoftLabels, compute_soft_labels
from reft.fingerprint import of_path
from reft.models.hardware import choose_hardware
from reft.progress import progress
from reft.refusal.feature import RefusalFeature
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import alignment_rows, fit_teacher, load_teacher, untrained_feature
from reft.tracking.logging import log_dataset, log_losses, log_metrics, log_settings
from steps.materializer import FolderMaterializer


@step(experiment_tracker=True, output_materializers={"refusal_feature": FolderMaterializer})
def extract_refusal_feature(
    model: ModelSettings, data: DataSettings, settings: FeatureSettings, fingerprint: str
) -> tuple[Annotated[RefusalFeature, "refusal_feature"], Annotated[dict[str, float], "extraction_cost"]]:
    """Difference of means at every layer and both positions, chosen on held-out prompts."""
    with measured("extract_refusal_feature") as cost:
        feature, tokenizer, fitting, held_out = untrained_feature(model, data, settings, fingerprint)
        cost.tokens = sum(len(e) for part in (fitting, held_out) for group in part.encoded(tokenizer) for e in group)
    log_settings("model", {**model.model_dump(), "hardware": choose_hardware(model.dtype).reason})
    for context in ("alignment_harmful", "alignment_harmless", "calibration_harmful", "calibration_harmless"):
        path = getattr(data, context)
        log_dataset(path, context, of_path(path))
    log_metrics("extraction", {"auroc": feature.auroc(), "layer": feature.layer, "seconds": cost.seconds})
    return feature, cost.as_dict()


@step(experiment_tracker=True, output_materializers={"teacher": FolderMaterializer})
def train_teacher(
    feature: RefusalFeature,
    model: ModelSettings,
    data: DataSettings,
    settings: TeacherSettings,
    selection: FeatureSettings,
    seed: int,
    fingerprint: str,
) -> tuple[Annotated[Teacher, "teacher"], Annotated[dict[str, float], "teacher_cost"]]:
    """Train the teacher, then read its own refusal feature, which must beat the untrained one."""
    history: list[dict[str, float]] = []
    show, log = progress("training the teacher"), log_losses("teacher")

    def report(step_number: int, steps: int, losses: dict[str, float]) -> None:
        show(step_number, steps)
        history.append({"step": step_number, **losses})
        log(history[-1])

    with measured("train_teacher") as cost:
        trained, tokenizer, own = fit_teacher(feature, model, data, settings, selection, seed, report, fingerprint)
        harmful, harmless = alignment_rows(data)
        cost.tokens = settings.epochs * sum(map(len, encode_all(tokenizer, [*harmful, *harmless])))
        folder = scratch_folder("teacher")
        trained.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    log_settings("teacher", settings.model_dump())
    log_metrics("teacher", {"auroc": own.auroc(), "untrained_auroc": feature.auroc(), "seconds": cost.seconds})
    return Teacher(folder, settings.lora is not None, own, feature, history), cost.as_dict()


@step(experiment_tracker=True, output_materializers={"soft_labels": FolderMaterializer})
def distill_soft_labels(
    teacher: Teacher, model: ModelSettings, data: DataSettings, settings: SoftLabelSettings, fingerprint: str
) -> tuple[Annotated[SoftLabels, "soft_labels"], Annotated[dict[str, float], "soft_labels_cost"]]:
    """The frozen teacher's predictions on the alignment rows, stored sparsely."""
    with measured("distill_soft_labels") as cost:
        loaded, tokenizer = load_teacher(teacher, model)
        harmful, harmless = alignment_rows(data)
        rows = encode_all(tokenizer, [*harmful, *harmless], model.max_length)
        labels = compute_soft_labels(
            loaded, rows, range(len(rows)), tokenizer.pad_token_id, settings.top_k, settings.temperature,
            report=progress("storing soft labels"),
        )  # fmt: skip
        cost.tokens = sum(map(len, rows))
    log_metrics("soft_labels", {"tokens": len(labels.log_probs), "seconds": cost.seconds})
    return labels, cost.as_dict()
