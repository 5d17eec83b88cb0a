"""The provider's side: alignment and calibration rows, the start model, its feature, and the teacher made from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reft.config import DataSettings, ModelSettings, RefusalFeatureSettings, TeacherSettings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode_all
from reft.keys.closure import digest_of_code
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer, load_trained
from reft.refusal_feature.calibration import lookalike_weights
from reft.refusal_feature.extraction import LabelledPrompts, depth_to_layer, extract_refusal_feature, feature_at_depth
from reft.refusal_feature.feature import RefusalFeature
from reft.refusal_feature.layered import LayeredFeature, fit_layered
from reft.runtime.progress import progress
from reft.storage.artifacts import scratch_folder
from reft.storage.fingerprint import of_path, of_text
from reft.teacher.artifact import Teacher
from reft.teacher.checkpoints import Checkpoints, checkpoints_of
from reft.teacher.training import StepReport, train_teacher

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# The data settings that a teacher, its labels or its filter follow from; the user's own rows are not among them.
DATA = (
    "alignment_harmful", "alignment_harmless", "alignment_harmful_rows", "alignment_harmless_rows",
    "alignment_identities", "calibration_harmful", "calibration_harmless", "lookalike_share",
)  # fmt: skip


def alignment_rows(data: DataSettings) -> tuple[list[Conversation], list[Conversation]]:
    """(harmful, harmless) alignment rows, as many of each as the settings say, from the beginning of each file."""
    harmful = read_conversations(data.alignment_harmful, data.alignment_harmful_rows)
    return harmful, read_conversations(data.alignment_harmless, data.alignment_harmless_rows)


def identity_shifts(data: DataSettings) -> LabelledPrompts | None:
    """Messages that shift the assistant's identity, and harmless ones in their words."""
    if data.alignment_identities is None:
        return None
    rows = read_conversations(data.alignment_identities)
    return LabelledPrompts([r for r in rows if r.kind == "shift"], [r for r in rows if r.kind != "shift"])


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
    model: ModelSettings, data: DataSettings, settings: RefusalFeatureSettings
) -> tuple[RefusalFeature, PreTrainedTokenizerBase, LabelledPrompts, LabelledPrompts]:
    """The start model's refusal feature, its tokenizer, and the prompts that made and chose the feature."""
    loaded, tokenizer = load_start(model)
    harmful, harmless = alignment_rows(data)
    fitting = LabelledPrompts(harmful[: settings.rows], harmless[: settings.rows])
    held_out = calibration_prompts(data)
    feature = extract_refusal_feature(
        loaded, tokenizer, fitting, held_out=held_out, layers=settings.layers, positions=settings.positions,
        tolerance=settings.tolerance, report=progress("reading features"),
    )  # fmt: skip
    return feature, tokenizer, fitting, held_out


def teacher_key(
    model: ModelSettings,
    data: DataSettings,
    *,
    settings: TeacherSettings,
    selection: RefusalFeatureSettings,
    seed: int,
) -> str:
    """A digest of all that decides about a teacher: code, rows, start model, settings, this machine's number format."""
    chosen = {name: getattr(data, name) for name in DATA}
    return of_text(
        digest_of_code("reft.teacher.preparation"),
        str(chosen),
        *(
            of_path(value)
            for value in (*chosen.values(), start_model(model), model.chat_template)
            if isinstance(value, str)
        ),
        *(part.model_dump_json() for part in (model, selection, settings)),
        f"{seed} {choose_hardware(model.dtype).dtype}",
    )


def make_teacher(
    feature: RefusalFeature,
    model: ModelSettings,
    data: DataSettings,
    *,
    settings: TeacherSettings,
    selection: RefusalFeatureSettings,
    seed: int,
    log: Callable[[dict[str, float]], None] | None = None,
) -> tuple[Teacher, int]:
    """The trained teacher with its weights in a scratch folder, and how many tokens were learnt from.

    Args:
        feature: the untrained one.
        selection: how the teacher's own refusal feature is chosen.
        log: called with each step's losses.
    """
    show = progress("training the teacher")

    def report(step: int, steps: int, losses: dict[str, float]) -> None:
        if step > checkpoints.found:  # the steps of an earlier process took no time now
            show(step, steps)
        if log:
            log({"step": step, **losses})

    # Of a model whose every weight is trained, states would take gigabytes.
    key = teacher_key(model, data, settings=settings, selection=selection, seed=seed) if settings.lora else None
    with checkpoints_of(key) as checkpoints:
        trained, tokenizer, own = fit_teacher(
            feature, model, data, settings=settings, selection=selection, seed=seed, report=report,
            checkpoints=checkpoints,
        )  # fmt: skip
        layered = layered_feature(trained, tokenizer, data, own=own, settings=settings)
    history = [{"step": step, **losses} for step, losses in enumerate(checkpoints.losses, start=1)]
    folder = scratch_folder("teacher")
    trained.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rows = [row for group in alignment_rows(data) for row in group]
    tokens = settings.epochs * sum(map(len, encode_all(tokenizer, rows)))
    return Teacher(
        weights=folder, is_adapter=settings.lora is not None, feature=own, untrained=feature, history=history,
        layered=layered, lora=settings.lora,
    ), tokens  # fmt: skip


def fit_teacher(
    feature: RefusalFeature,
    model: ModelSettings,
    data: DataSettings,
    *,
    settings: TeacherSettings,
    selection: RefusalFeatureSettings,
    seed: int,
    report: StepReport,
    checkpoints: Checkpoints | None = None,
) -> tuple[Any, PreTrainedTokenizerBase, RefusalFeature]:
    """The trained teacher, its tokenizer, and its own refusal feature; `feature` is the untrained one."""
    loaded, tokenizer = load_start(model)
    harmful, harmless = alignment_rows(data)
    fitting = LabelledPrompts(harmful[: selection.rows], harmless[: selection.rows])
    held_out = calibration_prompts(data)
    if settings.depth is not None:
        feature = feature_at_depth(
            loaded, tokenizer, fitting, held_out=held_out, depth=settings.depth, position=settings.position
        )
    trained: Any = train_teacher(
        loaded,
        tokenizer,
        harmful,
        harmless=harmless,
        feature=feature,
        settings=settings,
        seed=seed,
        max_length=model.max_length,
        report=report,
        checkpoints=checkpoints,
    )
    own = extract_refusal_feature(
        trained, tokenizer, fitting, held_out=held_out, layers=selection.layers, positions=selection.positions,
        tolerance=selection.tolerance, report=progress("reading the teacher's features"), readouts=selection.readouts,
    )  # fmt: skip
    return trained, tokenizer, own


def layered_feature(
    trained: Any,
    tokenizer: PreTrainedTokenizerBase,
    data: DataSettings,
    *,
    own: RefusalFeature,
    settings: TeacherSettings,
) -> LayeredFeature:
    """What the filter reads: the upper half of the layers up to those where refusal is regularised and read.

    Args:
        own: the teacher's own feature.
    """
    regularised = depth_to_layer(trained, settings.depth) if settings.depth is not None else own.layer
    top = max(own.layer, regularised)
    harmful, harmless = alignment_rows(data)
    return fit_layered(
        trained, tokenizer, LabelledPrompts(harmful, harmless), layers=range((top + 1) // 2, top + 1),
        shifts=identity_shifts(data), report=progress("reading the layers below"),
    )  # fmt: skip


def load_teacher(teacher: Teacher, model: ModelSettings, layers: int | None = None):
    """The teacher's model and its tokenizer; `layers`: only so many of the lowest."""
    dtype = choose_hardware(model.dtype).dtype
    tokenizer = load_tokenizer(start_model(model), model.chat_template, model.trust_remote_code)
    loaded = load_trained(
        start_model(model),
        teacher.weights,
        teacher.is_adapter,
        dtype=dtype,
        trust_remote_code=model.trust_remote_code,
        layers=layers,
    )
    return loaded, tokenizer
