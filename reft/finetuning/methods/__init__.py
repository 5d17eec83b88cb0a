"""Ways to finetune, a module each with `METHOD`: ours, and those that it is compared with.

A method says what a step's loss is, which model it starts from, whether alignment rows are part of the steps, and what
is done to the adapter when training is over. All train through `reft.finetuning.student`, with one plan of rows and one
LoRA configuration, so that a difference between them is theirs. `finetuning.method` names one by its file, and
`finetuning.method_settings` holds what it takes. Modules that begin with `_` are shared parts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reft import plugins
from reft.config import FinetuningSettings, NoSettings, Section
from reft.errors import ConfigurationError, explain

if TYPE_CHECKING:
    import torch

    from reft.conversations.schema import Conversation
    from reft.finetuning.methods._losses import StepLoss, Training

__all__ = [
    "Method",
    "NoSettings",
    "Provided",
    "ProviderAdapter",
    "load_method",
    "method_names",
    "require_fitting",
    "require_for_pipeline",
]

Rows = Sequence["Conversation"]


@dataclass(frozen=True, kw_only=True)
class ProviderAdapter:
    """An adapter of the aligned model that a provider trains once for all jobs, by `sft`.

    Attributes:
        rows: what it learns, made of the harmful and the harmless alignment rows.
        beside: the name of one before it that is active and frozen meanwhile.
    """

    name: str
    rows: Callable[[Rows, Rows], Rows]
    beside: str | None = None


@dataclass(frozen=True, kw_only=True)
class Provided:
    """What a provider has made once for all jobs.

    Attributes:
        aligned_minus_base: from the names of weight matrices to what alignment changed of each.
        adapters: folders of the method's `adapters`, by their names.
        costs: what making these took.
    """

    aligned_minus_base: Callable[[], "Mapping[str, torch.Tensor]"]
    adapters: Mapping[str, Path] = field(default_factory=dict)
    costs: Mapping[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to finetune.

    Attributes:
        words: what it does, in a line.
        loss: makes what gives a forward pass's part of a step's loss; None: nothing is trained.
        start: the base model, the safety-aligned one, or the base model with the teacher's adapter, which goes on.
        alignment: whether alignment rows are part of each step.
        planned: whether these are spread over the steps at the settings' ratio; else its loss takes its own.
        distils: whether it learns the teacher's soft labels.
        passes: how many times the settings' epochs; a method that takes user rows in half of its steps takes twice.
        oracle: whether the poisoned rows are taken out beforehand by their labels.
        highest_zero_stage: of DeepSpeed's; a loss that looks at the weights themselves needs them whole.
        on_adapters: whether it looks at the model below the adapter, and so cannot train a model whole.
        adapters: what a provider trains beforehand, in this order.
        beside: the name of one of these that is active and frozen while the user's rows are learnt.
        after: what is done to the written adapter's folder when training is over; gets what a provider made, and the
            method's settings.
        settings: what `finetuning.method_settings` may hold.
    """

    words: str
    loss: "Callable[[Training], StepLoss] | None"
    start: Literal["base", "aligned", "teacher"] = "base"
    alignment: bool = False
    planned: bool = True
    distils: bool = False
    passes: int = 1
    oracle: bool = False
    highest_zero_stage: int = 3
    on_adapters: bool = False
    adapters: tuple[ProviderAdapter, ...] = ()
    beside: str | None = None
    after: Callable[[Path, Provided, Any], None] | None = None
    settings: type[Section] = NoSettings

    def needs(self, *, filtered: bool) -> list[str]:
        """The stages before it: the aligned model is the teacher, and the filter's feature is the teacher's."""
        teacher = filtered or self.distils or self.start != "base"
        return [name for name, needed in (("teacher", teacher), ("soft_labels", self.distils)) if needed]

    def begins_as_teacher(self, settings: FinetuningSettings) -> bool:
        """Whether the student goes on with the teacher's adapter on the base model, where that is of its kind.

        It is the aligned model then, too; but a method that looks below the adapter would find the base model there.
        """
        if self.loss is None:
            return False  # nothing is trained that could begin anywhere
        if self.start == "aligned":
            return settings.start == "teacher" and not self.on_adapters
        return self.distils or self.start == "teacher"

    def options(self, given: Mapping[str, Any]) -> Any:
        """Its own settings.

        Raises:
            ConfigurationError: naming each wrong key.
        """
        return plugins.options_of(self.settings, given, "finetuning.method_settings")


def method_names() -> tuple[str, ...]:
    """What `finetuning.method` may be."""
    return plugins.names(__name__)


def load_method(name: str) -> Method:
    """The method of that name.

    Raises:
        ConfigurationError: there is none.
    """
    return plugins.load(__name__, name, "finetuning.method").METHOD


def require_fitting(settings: FinetuningSettings) -> Method:
    """The method of these settings, refused before anything is trained where they do not fit it.

    Raises:
        ConfigurationError: there is no such method, or it takes not its settings, full finetuning, the ZeRO stage or
            the start.
    """
    method = load_method(settings.method)
    method.options(settings.method_settings)
    if settings.zero_stage > method.highest_zero_stage:
        what, where = f"{settings.method} needs its weights whole", "finetuning.zero_stage"
        raise ConfigurationError(explain(what, where, f"{method.highest_zero_stage} at most"))
    if settings.lora is None and method.on_adapters:
        what = f"{settings.method} compares with the model below its adapter"
        raise ConfigurationError(explain(what, "finetuning.lora", "leave finetuning.lora set"))
    if settings.start == "base" and method.start == "teacher":
        what = f"{settings.method} goes on with the teacher's adapter"
        raise ConfigurationError(explain(what, "finetuning.start", "say auto or teacher"))
    return method


def require_for_pipeline(settings: FinetuningSettings) -> None:
    """Refuse, before anything is trained, a method that only the comparison can run.

    Raises:
        ConfigurationError: it trains nothing, starts from the aligned model and shall not begin as the teacher, needs
            labels or adapters beforehand, or changes the adapter afterwards; or as `require_fitting` says.
    """
    method = require_fitting(settings)
    starts = method.start != "aligned" or method.begins_as_teacher(settings)
    if method.loss is None or not starts or method.oracle or method.adapters or method.after:
        what = f"the pipeline finetunes the base model, which {settings.method} does not"
        remedy = "name another method, or compare it with reft benchmark comparison"
        if method.loss and not (starts or method.on_adapters):
            remedy = f"set finetuning.start: teacher; {remedy}"
        raise ConfigurationError(explain(what, "finetuning.method", remedy))
