"""Steps extract_refusal_feature, train_teacher and distill_soft_labels: the branch that no customer's data enters."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

from transformers import PreTrainedTokenizerBase
from zenml import step

from reft.config import DataSettings, FeatureSettings, ModelSettings, SoftLabelSettings, TeacherSettings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode_all
from reft.cost import measured
from reft.distillation.soft_labels import SoftLabels, compute_soft_labels
from reft.fingerprint import of_path
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer
from reft.progress import progress
from reft.refusal.calibration import lookalike_weights
from reft.refusal.extraction import LabelledPrompts, feature_at_depth
from reft.refusal.extraction import extract_refusal_feature as extract
from reft.refusal.feature import RefusalFeature
from reft.teacher.artifact import Teacher
from reft.teacher.training import StepReport
from reft.teacher.training import train_teacher as train
from reft.tracking.logging import log_dataset, log_losses, log_metrics, log_settings
from steps.materializer import FolderMaterializer


def alignment_rows(data: DataSettings) -> tuple[list[Conversation], list[Conversation]]:
    """(harmful, harmless) alignment rows, as many of each as the settings say, from the beginning of each file."""
    harmful = read_conversations(data.alignment_harmful, data.alignment_harmful_rows)
    return harmful, read_conversations(data.alignment_harmless, data.alignment_harmless_rows)


def calibration_prompts(data: DataSettings) -> LabelledPrompts:
    """Prompts from sources that are not trained on, weighed as a customer's rows are taken to be mixed."""
    harmless = read_conversations(data.calibration_harmless)
    weights = lookalike_weights(harmless, data.lookalike_share)
    return LabelledPrompts(read_conversations(data.calibration_harmful), harmless, weights)


def start_model(model: ModelSettings) -> str:
    """The model that the feature is read from and the teacher starts from."""
    return resolve_model(model.aligned or model.name)


def load_start(model: ModelSettings):
    """That model, untrained, and its tokenizer."""
    dtype = choose_hardware(model.dtype).dtype
    loaded = load_model(start_model(model), dtype, trust_remote_code=model.trust_remote_code)
    return loaded, load_tokenizer(start_model(model), model.chat_template, model.trust_remote_code)


def untrained_feature(
    model: ModelSettings, data: DataSettings, settings: FeatureSettings, fingerprint: str = ""
) -> tuple[RefusalFeature, PreTrainedTokenizerBase, LabelledPrompts, LabelledPrompts]:
    """The start model's refusal feature, its tokenizer, and the prompts that made and chose the feature."""
    loaded, tokenizer = load_start(model)
    harmful, harmless = alignment_rows(data)
    fitting = LabelledPrompts(harmful[: settings.rows], harmless[: settings.rows])
    held_out = calibration_prompts(data)
    feature = extract(
        loaded, tokenizer, fitting, held_out, settings.layers, settings.positions, settings.tolerance,
        progress("reading features"), fingerprint,
    )  # fmt: skip
    return feature, tokenizer, fitting, held_out


@step(experiment_tracker=True, output_materializers={"refusal_feature": FolderMaterializer})
def extract_refusal_feature(
    model: ModelSettings, data: DataSettings, settings: FeatureSettings, fingerprint: str
) -> tuple[Annotated[RefusalFeature, "refusal_feature"], Annotated[dict[str, float], "extraction_cost"]]:
    """Difference of means at every layer and both positions, chosen on held-out prompts."""
    with measured() as cost:
        feature, tokenizer, fitting, held_out = untrained_feature(model, data, settings, fingerprint)
        cost.tokens = sum(len(e) for part in (fitting, held_out) for group in part.encoded(tokenizer) for e in group)
    log_settings("model", {**model.model_dump(), "hardware": choose_hardware(model.dtype).reason})
    for context in ("alignment_harmful", "alignment_harmless", "calibration_harmful", "calibration_harmless"):
        path = getattr(data, context)
        log_dataset(path, context, of_path(path))
    log_metrics("extraction", {"auroc": feature.auroc(), "layer": feature.layer, "seconds": cost.seconds})
    return feature, cost.as_dict()


def fit_teacher(
    feature: RefusalFeature,
    model: ModelSettings,
    data: DataSettings,
    settings: TeacherSettings,
    selection: FeatureSettings,
    seed: int,
    report: StepReport,
    fingerprint: str = "",
) -> tuple[Any, PreTrainedTokenizerBase, RefusalFeature]:
    """The trained teacher, its tokenizer, and its own refusal feature; `feature` is the untrained one."""
    loaded, tokenizer = load_start(model)
    harmful, harmless = alignment_rows(data)
    fitting = LabelledPrompts(harmful[: selection.rows], harmless[: selection.rows])
    held_out = calibration_prompts(data)
    if settings.depth is not None:
        feature = feature_at_depth(loaded, tokenizer, fitting, held_out, settings.depth, settings.position)
    trained = train(loaded, tokenizer, harmful, harmless, feature, settings, seed, model.max_length, report)
    own = extract(
        trained, tokenizer, fitting, held_out, selection.layers, selection.positions,
        selection.tolerance, progress("reading the teacher's features"), fingerprint,
    )  # fmt: skip
    return trained, tokenizer, own


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

    with measured() as cost:
        trained, tokenizer, own = fit_teacher(feature, model, data, settings, selection, seed, report, fingerprint)
        harmful, harmless = alignment_rows(data)
        cost.tokens = settings.epochs * sum(map(len, encode_all(tokenizer, [*harmful, *harmless])))
        folder = Path(tempfile.mkdtemp(prefix="reft-teacher-"))
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
    with measured() as cost:
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


def load_teacher(teacher: Teacher, model: ModelSettings):
    """The teacher's model, its adapter merged, and the tokenizer."""
    dtype = choose_hardware(model.dtype).dtype
    tokenizer = load_tokenizer(start_model(model), model.chat_template, model.trust_remote_code)
    if teacher.is_adapter:
        loaded = load_model(
            start_model(model), dtype, adapter=teacher.weights, trust_remote_code=model.trust_remote_code
        )
    else:
        loaded = load_model(str(teacher.weights), dtype, trust_remote_code=model.trust_remote_code)
    return loaded, tokenizer
