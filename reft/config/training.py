"""The settings of the three trainings: the teacher, its soft labels, the student."""

import json
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from reft.config.sections import Count, ModelSettings, Section, Share, known_part
from reft.errors import DataFormatError, parts
from reft.moved import keep_old_names
from reft.storage.files import read_small

# What of `finetuning` says how a training is carried out, and changes nothing that is learnt but for rounding.
HOW_IT_RUNS = (
    "checkpoint_every", "work_folder", "timeout_minutes", "stalled_minutes", "launcher", "processes",
    "micro_batch_size", "gradient_checkpointing", "compile_layers", "optimizer_offload", "parameter_offload",
)  # fmt: skip

# What `finetuning.epochs: auto` aims at.
ENOUGH_ROWS, MOST_PASSES = 500, 10


class LoraSettings(Section):
    """Low-rank adapters."""

    rank: Count = Field(16, description="rank of the adapter")
    alpha: float = Field(32.0, gt=0, description="scale of the adapter")
    dropout: Share = Field(0.0, description="dropout before the adapter")
    target_modules: str | list[str] = Field(
        "all-linear",
        description="which linear modules get an adapter: names, a pattern, all-linear, or feed-forward, which leaves out "
        "gates and is faster (docs/results/cost.md)",
    )
    frozen_share: float = Field(
        0.35, ge=0, lt=1, description="share of the layers, from the lowest up, without adapter: they train faster"
    )

    def holds(self, other: "LoraSettings") -> bool:
        """Whether every matrix of such an adapter has its place in one of this kind."""
        wider = self.target_modules == "all-linear" and other.target_modules == "feed-forward"
        return self == (other.model_copy(update={"target_modules": "all-linear"}) if wider else other)


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
    batch_size: Count = Field(4, description="rows per optimizer step; fewer rows, more steps, a better border")
    momentum: Share = Field(
        0.975, description="inertia of the running refusal feature; 1 freezes it; fewer rows a step need more"
    )
    max_grad_norm: float = Field(1.0, gt=0, description="gradient clipping")
    compile_layers: bool | Literal["auto"] = Field(
        "auto",
        description="layers by torch.compile: faster steps, after a minute or two of compiling, once; auto: on a CPU "
        "with g++, where there are 1000 steps or more",
    )

    @model_validator(mode="after")
    def _what_is_regularised_trains(self) -> "TeacherSettings":
        frozen = self.lora.frozen_share if self.lora else 0.0
        if self.lam and self.depth is not None and self.depth <= frozen:
            raise ValueError(
                f"depth {self.depth:g} lies in the frozen lowest {frozen:g}: raise it, or lower frozen_share"
            )
        return self


class SoftLabelSettings(Section):
    """What is stored of the teacher's predictions."""

    top_k: Count = Field(32, description="log-probabilities stored per token, beside the mass of the rest")
    temperature: float = Field(1.0, gt=0, description="T of the distillation, softens both sides")


def _zero_stage_of(deepspeed: dict[str, Any] | None) -> Any:
    """What DeepSpeed's own configuration says of it, which wins over ours."""
    zero = (deepspeed or {}).get("zero_optimization")
    return zero.get("stage") if isinstance(zero, dict) else None


class FinetuningSettings(Section):
    """Finetuning of the student on DeepSpeed."""

    method: str = Field(
        "reft",
        description="how it learns: reft, sft, joint_sft; any file of reft/finetuning/methods that trains the base model",
    )
    method_settings: dict[str, Any] = Field(
        {}, description="what that method takes (docs/reference/settings.md); these three take nothing"
    )
    lora: LoraSettings | None = Field(LoraSettings(), description="adapter; none: train every weight")
    start: Literal["auto", "base", "teacher"] = Field(
        "auto", description="weights to start from; auto: the teacher's adapter where this one has a place for it"
    )
    alpha: float = Field(2.0, ge=0, description="weight of the distillation term")
    alignment_ratio: float | None = Field(
        None,
        ge=0,
        description="alignment rows per user row in every step; none: 1 where it starts as the teacher, else 5",
    )
    least_alignment_rows: int | None = Field(
        None, ge=0,
        description="alignment rows that are learnt at least, however few the user rows; none: 0 as the teacher, else 1500",
    )  # fmt: skip
    harmful_share: float | None = Field(
        0.2, gt=0, lt=1, description="share of harmful rows among those alignment rows; none: as in the data"
    )
    wrapped_share: Share = Field(
        0.0,
        description="share of the alignment rows that are asked among words of the user's own rows; 0.5, with "
        "harmful_share 0.4, against users who know the filter",
    )
    distillation: Literal["stored", "online"] = Field(
        "stored", description="soft labels made once and stored sparsely, or the teacher in memory and its whole word"
    )
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="the learning rate after warm-up")
    warmup_share: Share = Field(0.05, description="share of the steps in which the learning rate rises")
    epochs: Count | Literal["auto"] = Field(
        "auto", description="passes over the kept user rows; auto: as many as come nearest to 500 rows, at most 10"
    )
    batch_size: Count = Field(2, description="user rows per optimizer step, over all processes")
    micro_batch_size: Count = Field(2, description="user rows per forward pass and process")
    packing: bool = Field(False, description="rows of a pass end to end without padding; pays with long rows on a GPU")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient clipping")
    gradient_checkpointing: bool = Field(False, description="less memory for a third more time: for long rows")
    quantized_base: bool = Field(False, description="QLoRA: the frozen base in 4 bits (extra quantized); needs lora")
    zero_stage: Literal[0, 1, 2, 3] = Field(2, description="DeepSpeed ZeRO stage")
    compile_layers: bool = Field(
        False, description="layers by torch.compile: faster steps, once compiled; needs g++ on a CPU, not ZeRO 3"
    )
    optimizer_offload: bool = Field(False, description="optimizer states in the CPU's memory; needs ZeRO 1 or more")
    parameter_offload: bool = Field(False, description="weights in the CPU's memory too; needs ZeRO 3")
    deepspeed: dict[str, Any] | None = Field(
        None, description="DeepSpeed's own configuration or its JSON file; it wins over the keys here, auto takes them"
    )
    launcher: Literal["local", "trainjob"] = Field(
        "local", description="where the ranks run: on this machine, or as a Kubernetes TrainJob (section cluster)"
    )
    processes: Count = Field(1, description="processes (ranks) on this machine; a TrainJob's follow from its nodes")
    checkpoint_every: int = Field(
        100, ge=0, description="optimizer steps between checkpoints, where a killed training goes on; 0: none"
    )
    seed: int | None = Field(
        None, ge=0, description="seed of the student's training alone, so that the teacher stays; none: the run's"
    )
    merged: bool = Field(False, description="write whole merged weights instead of an adapter")
    kept_epochs: Count = Field(
        1, description="states at the ends of so many last epochs are kept, the result among them; each as large as it"
    )
    work_folder: str = Field(".reft/jobs", description="running trainings and their checkpoints")
    stalled_minutes: float = Field(30, gt=0, description="a training without a step for so long is ended as hung")
    timeout_minutes: Count = Field(240, description="a training that takes longer is stopped")

    @property
    def accumulation(self) -> int:
        """Forward passes of each process in an optimizer step."""
        return math.ceil(self.batch_size // self.processes / self.micro_batch_size)

    def passes(self, rows: int) -> int:
        """Passes over so many user rows: few of them, seen once, teach too little."""
        if self.epochs != "auto":
            return self.epochs
        return min(MOST_PASSES, max(1, round(ENOUGH_ROWS / rows))) if rows else 1

    def counted(self, rows: int) -> "FinetuningSettings":
        """The same with the number of passes over so many user rows, in place of `auto`."""
        return self.model_copy(update={"epochs": self.passes(rows)})

    def may_start_as(self, teacher: LoraSettings | None, model: ModelSettings) -> bool:
        """Whether the student begins as a teacher with such an adapter, made from such a model."""
        holds = self.lora is not None and teacher is not None and self.lora.holds(teacher)
        return holds and model.aligned in (None, model.name) and self.start != "base"

    def alignment_rows(self, *, as_teacher: bool) -> tuple[float, int]:
        """(alignment rows per user row, alignment rows at least) of a student that starts as the teacher, or not.

        What a model knows already needs no more than to be kept (`benchmarks/student.py`).
        """
        ratio, least = (1.0, 0) if as_teacher else (5.0, 1500)
        return (
            ratio if self.alignment_ratio is None else self.alignment_ratio,
            least if self.least_alignment_rows is None else self.least_alignment_rows,
        )

    def for_method(self, method: str, method_settings: dict[str, Any] | None = None) -> "FinetuningSettings":
        """The same for another method, with settings of its own."""
        return self.model_copy(update={"method": method, "method_settings": method_settings or {}})

    @field_validator("method")
    @classmethod
    def _is_there(cls, method: str) -> str:
        return known_part(method, "reft.finetuning.methods", "method")

    @field_validator("deepspeed", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        """The file's content is the setting, so that a changed file is a changed setting."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(read_small(Path(value)).decode("utf-8"))
        except DataFormatError as error:
            raise ValueError(f"the file {value} cannot be read: {parts(error)[0]}") from error
        except OSError as error:
            raise ValueError(f"the file {value} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"the file {value} is not UTF-8 text") from error
        except json.JSONDecodeError as error:
            raise ValueError(f"the file {value} is not JSON: {error}") from error
        except RecursionError as error:
            raise ValueError(f"the file {value} is nested too deeply") from error
        except ValueError as error:
            raise ValueError(f"the file {value} holds a number of too many digits") from error

    @model_validator(mode="after")
    def _fits_together(self) -> "FinetuningSettings":
        if self.batch_size % self.processes:
            raise ValueError("batch_size must be a multiple of processes")
        if self.optimizer_offload and self.zero_stage == 0:
            raise ValueError("optimizer_offload needs zero_stage 1, 2 or 3")
        if self.parameter_offload and self.zero_stage != 3:
            raise ValueError("parameter_offload needs zero_stage 3")
        gathers = 3 in (self.zero_stage, _zero_stage_of(self.deepspeed))
        if self.compile_layers and gathers:
            raise ValueError("compile_layers needs a zero_stage below 3, which gathers weights within a layer")
        if self.quantized_base and (self.lora is None or self.merged or gathers):
            raise ValueError("quantized_base needs lora, merged off and a zero_stage below 3")
        return self


keep_old_names(__name__)
