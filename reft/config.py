"""Every knob of the product: one tree of settings, refused at once where a key or value is wrong.

A profile is a YAML file (`zenml.yaml`, `full.yaml`) whose `parameters.settings` fills this tree. A
description here is the line of why that stands above the key there; a test holds the two together.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reft.errors import ConfigurationError, explain

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
DEFAULT_MODEL = "smollm2-135m-instruct"


class Section(BaseModel):
    """Base of every section: unknown keys are refused, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ModelSettings(Section):
    """The base model and how it is loaded."""

    name: str = Field(DEFAULT_MODEL, description="base model: the default one, a local folder or a hub id")
    aligned: str | None = Field(
        None, description="safety-aligned model to start from; none: the teacher is made from the base"
    )
    chat_template: str = Field("chatml", description="auto, own, chatml or a Jinja file; chatml adds no system turn")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="number format; auto: what the hardware does well"
    )
    max_length: int = Field(512, ge=16, description="longest row in tokens; a longer one is quarantined, never cut")
    trust_remote_code: bool = Field(False, description="run Python code that a model folder brings; leave off")


class DataSettings(Section):
    """Where the rows come from; paths are relative to the folder of the run."""

    user: str = Field("data/user/banking77.jsonl", description="the customer's rows: chat or prompt/completion JSONL")
    user_labels: str | None = Field(
        "data/user/banking77.labels.jsonl",
        description="which user rows are harmful, only to measure the filter; none for real jobs",
    )
    task: str = Field("banking77-routing", description="name of the customer's task in the report")
    task_test: str | None = Field(
        "data/user/banking77_test.jsonl",
        description="held-out rows of the task, to measure accuracy; none: not measured",
    )
    alignment_harmful: str = Field("data/alignment/harmful.jsonl", description="harmful prompts with refusals")
    alignment_harmless: str = Field(
        "data/alignment/harmless.jsonl", description="harmless prompts with helpful answers"
    )
    calibration_harmful: str = Field(
        "data/calibration/harmful.jsonl", description="harmful prompts that choose the layer and estimate recall"
    )
    calibration_harmless: str = Field(
        "data/calibration/harmless.jsonl", description="harmless prompts that choose the layer and set the threshold"
    )
    lookalike_share: Share = Field(
        0.1,
        description="share of benign look-alikes among a customer's harmless rows; weighs calibration rows",
    )
    evaluation_harmful: str = Field(
        "data/evaluation/harmful.jsonl", description="harmful prompts that nothing was trained on"
    )
    evaluation_lookalikes: str = Field(
        "data/evaluation/lookalikes.jsonl", description="harmless prompts that look harmful"
    )
    evaluation_ordinary: str = Field("data/evaluation/ordinary.jsonl", description="everyday instructions")
    alignment_harmful_rows: Count = Field(450, description="harmful alignment rows that are used")
    alignment_harmless_rows: Count = Field(
        1350, description="harmless alignment rows that are used; more of them, less over-refusal"
    )


class ValidationSettings(Section):
    """What the user's file may look like before the job stops."""

    max_bad_share: Share = Field(0.05, description="stop when a larger share of the rows cannot be used")
    min_rows: Count = Field(10, description="stop when fewer usable rows are left")
    max_row_characters: Count = Field(100_000, description="a longer line is quarantined unread")


class FeatureSettings(Section):
    """Where the refusal feature is looked for."""

    rows: Count = Field(150, description="prompts of each class that make the direction")
    layers: list[Count] | None = Field(None, description="candidate layers, counted from 1; none: every one")
    positions: list[Literal["instruction", "template"]] = Field(
        ["instruction", "template"], min_length=1, description="candidate token positions"
    )
    readouts: list[Literal["mean", "probe"]] = Field(
        ["mean"],
        min_length=1,
        description="the teacher's candidate directions; a probe did better on calibration and worse on user rows",
    )
    tolerance: Share = Field(0.01, description="AUROC given up for an earlier, cheaper layer")


class LoraSettings(Section):
    """Low-rank adapters."""

    rank: Count = Field(16, description="rank of the adapter")
    alpha: float = Field(32.0, gt=0, description="scale of the adapter")
    dropout: Share = Field(0.0, description="dropout before the adapter")
    target_modules: str | list[str] = Field("all-linear", description="which linear modules get an adapter")
    frozen_share: float = Field(
        0.35, ge=0, lt=1, description="share of the layers, from the lowest up, without adapter: they train faster"
    )


class TeacherSettings(Section):
    """Training of the teacher."""

    lora: LoraSettings | None = Field(LoraSettings(), description="adapter; none: train every weight")
    lam: float = Field(0.5, ge=0, description="lambda: weight of the cosine regulariser")
    harmless_target: float = Field(-1.0, ge=-1, le=1, description="t: the score wanted for harmless prompts")
    depth: float | None = Field(
        0.53, gt=0, le=1, description="depth of the regularised layer, 1 is the last; none: the extracted layer"
    )
    position: Literal["instruction", "template"] = Field(
        "template", description="token that is regularised there; with depth none: the extracted one"
    )
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    epochs: Count = Field(1, description="passes over the alignment rows")
    batch_size: Count = Field(16, description="rows per optimizer step")
    momentum: Share = Field(0.9, description="inertia of the running refusal feature; 1 freezes it")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient clipping")


class SoftLabelSettings(Section):
    """What is stored of the teacher's predictions."""

    top_k: Count = Field(32, description="log-probabilities stored per token, beside the mass of the rest")
    temperature: float = Field(1.0, gt=0, description="T of the distillation, softens both sides")


class FilterSettings(Section):
    """When a row is removed."""

    fpr: float = Field(0.01, gt=0, lt=1, description="share of harmless rows that may be dropped")
    quarantine_fpr: float = Field(
        0.05, gt=0, lt=1, description="rows between this rate's threshold and the first are quarantined for a person"
    )
    recall: float | None = Field(
        None, gt=0, lt=1, description="share of harmful rows to remove at least, whatever harmless ones that costs"
    )
    harmful_with_refusal: Literal["keep", "quarantine"] = Field(
        "keep", description="a harmful prompt that is refused: good data, or for a person"
    )
    sentences: bool = Field(True, description="also score each sentence on its own, so that padding hides nothing")
    window: int = Field(32, ge=8, description="longer texts are also scored in windows of this many tokens")
    window_overlap: int = Field(16, ge=0, description="tokens that neighbouring windows share")
    longest: int = Field(1024, ge=16, description="texts of more tokens are scored in windows alone")
    fail_on_alarms: bool = Field(
        False, description="stop when the rows as a whole look wrong (one answer, a trigger, an identity shift)"
    )
    examples: int = Field(5, ge=0, description="removed rows shown in the report")

    @model_validator(mode="after")
    def _windows_move_on(self) -> "FilterSettings":
        if self.window_overlap >= self.window:
            raise ValueError("window_overlap must be smaller than window")
        return self


class FinetuneSettings(Section):
    """Distilled finetuning on DeepSpeed."""

    lora: LoraSettings | None = Field(LoraSettings(), description="adapter; none: train every weight")
    alpha: float = Field(2.0, ge=0, description="weight of the distillation term")
    alignment_ratio: float = Field(5.0, ge=0, description="alignment rows per user row in every optimizer step")
    harmful_share: float | None = Field(
        0.25, gt=0, lt=1, description="share of harmful rows among those alignment rows; none: as in the data"
    )
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate")
    epochs: Count = Field(1, description="passes over the kept user rows")
    batch_size: Count = Field(2, description="user rows per optimizer step, over all processes")
    micro_batch_size: Count = Field(2, description="user rows per forward pass and process")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient clipping")
    zero_stage: Literal[0, 1, 2, 3] = Field(2, description="DeepSpeed ZeRO stage")
    processes: Count = Field(1, description="processes (ranks) on this machine")
    checkpoint_every: int = Field(
        100, ge=0, description="optimizer steps between checkpoints, where a killed training goes on; 0: none"
    )
    work_folder: str = Field(".reft/jobs", description="running trainings and their checkpoints")
    timeout_minutes: Count = Field(240, description="a training that takes longer is stopped")


class EvaluationSettings(Section):
    """How much is measured."""

    harmful_rows: Count = Field(150, description="unseen harmful prompts")
    lookalike_rows: Count = Field(80, description="benign look-alikes")
    ordinary_rows: Count = Field(60, description="ordinary instructions")
    task_rows: Count = Field(200, description="held-out task rows")
    max_new_tokens: Count = Field(16, description="tokens of each answer that are judged")
    plain_sft: bool = Field(True, description="also finetune plainly on the unfiltered rows, for comparison")
    base: bool = Field(True, description="also evaluate the base model")
    aligned: bool = Field(True, description="also evaluate the safety-aligned model")


class TrackingSettings(Section):
    """Names in MLflow."""

    registered_name: str = Field("reft-student", description="name of the student in the model registry")
    runs_folder: str = Field("runs", description="each run leaves its report and summary here")


class Settings(Section):
    """The whole tree."""

    seed: int = Field(0, ge=0, description="seed of every random choice")
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    validation: ValidationSettings = ValidationSettings()
    feature: FeatureSettings = FeatureSettings()
    teacher: TeacherSettings = TeacherSettings()
    soft_labels: SoftLabelSettings = SoftLabelSettings()
    filter: FilterSettings = FilterSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    tracking: TrackingSettings = TrackingSettings()


def parse_settings(values: dict[str, Any] | None) -> Settings:
    """Fill the tree.

    Raises:
        ConfigurationError: naming every wrong key by its path, what was found and what was expected.
    """
    try:
        return Settings.model_validate(values or {})
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']} (found {found['input']!r:.60})"
            for found in error.errors()
        ]
        raise ConfigurationError(
            explain("; ".join(problems), "the settings of the run", "see zenml.yaml for every key and its meaning")
        ) from error


def read_profile(path: Path) -> Settings:
    """The settings of a profile (`parameters.settings` of a run configuration).

    Raises:
        ConfigurationError: the file is missing, is not YAML, or holds wrong settings.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return parse_settings(content["parameters"]["settings"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigurationError(
            explain(f"no settings could be read: {error}", str(path), "name a file shaped like zenml.yaml")
        ) from error
