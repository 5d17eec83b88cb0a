"""Low-rank adapters on a frozen model."""

import re

from torch import nn
from transformers import PreTrainedModel

from reft.config import LoraSettings
from reft.models.layers import decoder_layers


def wrap_lora(model: PreTrainedModel, settings: LoraSettings) -> nn.Module:
    """Freeze the model and add LoRA matrices to the named modules; returns PEFT's wrapper.

    The lowest layers, as many as the settings say, stay as they are: no gradient flows through them.
    """
    from peft import LoraConfig, get_peft_model  # slow to import, and most callers need no adapter

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # ty: ignore[invalid-argument-type] (PEFT takes any number)
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
        exclude_modules=_lowest_layers(model, settings.frozen_share),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _lowest_layers(model: PreTrainedModel, share: float) -> str | None:
    """A pattern of the names of all modules in the lowest layers; None where no layer is left out."""
    layers = decoder_layers(model)
    lowest = range(int(share * len(layers)))
    if not lowest:
        return None
    name = next(name for name, module in model.named_modules() if module is layers)
    return rf"{re.escape(name)}\.({'|'.join(map(str, lowest))})\..*"
