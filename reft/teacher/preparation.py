"""The provider's side: alignment and calibration rows, the start model, its feature, and the teacher made from it."""

from typing import Any

from transformers import PreTrainedTokenizerBase

from reft.config import DataSettings, FeatureSettings, ModelSettings, TeacherSettings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer, load_trained
from reft.progress import progress
from reft.refusal.calibration import lookalike_weights
from reft.refusal.extraction import LabelledPrompts, extract_refusal_feature, feature_at_depth
from reft.refusal.feature import RefusalFeature
from reft.teacher.artifact import Teacher
from reft.teacher.training import StepReport, train_teacher


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


def load_start(model: ModelSettings, layers: int | None = None):
    """That model, untrained, and its tokenizer; `layers`: only so many of the lowest."""
    dtype = choose_hardware(model.dtype).dtype
    loaded = load_model(start_model(model), dtype, trust_remote_code=model.trust_remote_code, layers=layers)
    return loaded, load_tokenizer(start_model(model), model.chat_template, model.trust_remote_code)


def untrained_feature(
    model: ModelSettings, data: DataSettings, settings: FeatureSettings, fingerprint: str = ""
) -> tuple[RefusalFeature, PreTrainedTokenizerBase, LabelledPrompts, LabelledPrompts]:
    """The start model's refusal feature, its tokenizer, and the prompts that made and chose the feature."""
    loaded, tokenizer = load_start(model)
    harmful, harmless = alignment_rows(data)
    fitting = LabelledPrompts(harmful[: settings.rows], harmless[: settings.rows])
    held_out = calibration_prompts(data)
    feature = extract_refusal_feature(
        loaded, tokenizer, fitting, held_out, settings.layers, settings.positions, settings.tolerance,
        progress("reading features"), fingerprint,
    )  # fmt: skip
    return feature, tokenizer, fitting, held_out


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
    trained: Any = train_teacher(
        loaded, tokenizer, harmful, harmless, feature, settings, seed, model.max_length, report
    )
    own = extract_refusal_feature(
        trained, tokenizer, fitting, held_out, selection.layers, selection.positions,
        selection.tolerance, progress("reading the teacher's features"), fingerprint, selection.readouts,
    )  # fmt: skip
    return trained, tokenizer, own


def load_teacher(teacher: Teacher, model: ModelSettings, layers: int | None = None):
    """The teacher's model and its tokenizer; `layers`: only so many of the lowest."""
    dtype = choose_hardware(model.dtype).dtype
    tokenizer = load_tokenizer(start_model(model), model.chat_template, model.trust_remote_code)
    loaded = load_trained(
        start_model(model), teacher.weights, teacher.is_adapter, dtype, model.trust_remote_code, layers
    )
    return loaded, tokenizer
