"""Low-rank adapters on a frozen model."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from reft.config import LoraSettings
from reft.errors import ModelError, explain
from reft.models.layers import decoder_layers
from reft.storage.tensors import read_tensors

# Words in the names of what mixes tokens: attention, recurrent blocks, convolutions.
MIXING = ("attn", "attention", "mamba", "mixer", "temporal", "recurrent", "conv")
# What `target_modules` may say instead of names; the second is PEFT's own word.
FEED_FORWARD, ALL = "feed-forward", "all-linear"

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def wrap_lora(model: PreTrainedModel, settings: LoraSettings) -> nn.Module:
    """Freeze the model and add LoRA matrices to the named modules; returns PEFT's wrapper.

    The lowest layers, as many as the settings say, stay as they are: no gradient flows through them. Where the
    feed-forward matrices are asked for and none is found, every linear module gets them.
    """
    from peft import LoraConfig, get_peft_model  # slow to import, and most callers need no adapter

    chosen = settings.target_modules
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # ty: ignore[invalid-argument-type] (PEFT takes any number)
        lora_dropout=settings.dropout,
        target_modules=_feed_forward(model) or ALL if chosen == FEED_FORWARD else chosen,
        exclude_modules=_lowest_layers(model, settings.frozen_share),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _feed_forward(model: PreTrainedModel) -> list[str]:
    """The shortest names that tell a layer's feed-forward matrices, without gates, from its other linear modules."""
    from transformers.pytorch_utils import Conv1D

    described = model.config.get_text_config().to_dict()
    if any("expert" in key and value for key, value in described.items()):
        return []  # PEFT adapts experts, and no other matrix of such names (peft_dense_layers_of_expert_models.sh)
    modules = decoder_layers(model)[-1].named_modules()  # the lowest may be of another kind, and have no adapter
    linear = [name for name, module in modules if isinstance(module, nn.Linear | Conv1D)]
    mixing = {name for name in linear if any(word in name for word in MIXING)}
    found = [name for name in linear if name not in mixing and not _is_gate(name)]
    others = {name.rpartition(".")[2] for name in mixing}
    return [name if (last := name.rpartition(".")[2]) in others else last for name in found]


def _is_gate(name: str) -> bool:
    """Whether it is a gate alone: some models keep gate and feed-forward in one matrix."""
    return any("gate" in part and "up" not in part for part in name.split("."))


def begin_as(student: nn.Module, folder: Path) -> None:
    """Give PEFT's wrapper the LoRA matrices of another adapter of the same kind, or on fewer modules.

    The others are as they were: new ones, whose product is zero, change nothing of what the other adapter makes.

    Raises:
        StorageError: its file is missing or damaged.
        ModelError: it is of another kind.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    found = read_tensors(folder / "adapter_model.safetensors")
    own = {name: tensor.shape for name, tensor in get_peft_model_state_dict(student).items()}
    if not found or any(own.get(name) != tensor.shape for name, tensor in found.items()):
        raise ModelError(explain("the adapter is of another kind than the student's", str(folder), "start from base"))
    set_peft_model_state_dict(student, found)


def frozen_layers(model: PreTrainedModel, share: float) -> int:
    """How many of the lowest layers get no adapter."""
    return int(share * len(decoder_layers(model)))


def _lowest_layers(model: PreTrainedModel, share: float) -> str | None:
    """A pattern of the names of all modules in the lowest layers; None where no layer is left out."""
    layers = decoder_layers(model)
    lowest = range(frozen_layers(model, share))
    if not lowest:
        return None
    name = next(name for name, module in model.named_modules() if module is layers)
    return rf"{re.escape(name)}\.({'|'.join(map(str, lowest))})\..*"


@contextmanager
def speaking_as(model: nn.Module, adapter: str) -> Generator[None]:
    """Forward passes in the block use the named adapter instead of the active one.

    Which weights train stays as it is (PEFT's own switch would freeze the others, under an optimizer that holds
    them), so that a teacher and a student can be two adapters of one frozen base.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    before = [layer.active_adapters for layer in layers]
    try:
        for layer in layers:
            layer._active_adapter = [adapter]
        yield
    finally:
        for layer, active in zip(layers, before, strict=True):
            layer._active_adapter = active
