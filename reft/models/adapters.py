"""Low-rank adapters on a frozen model."""

from torch import nn
from transformers import PreTrainedModel

from reft.config import LoraSettings


def wrap_lora(model: PreTrainedModel, settings: LoraSettings) -> nn.Module:
    """Freeze the model and add LoRA matrices to the named modules; returns PEFT's wrapper."""
    from peft import LoraConfig, get_peft_model  # slow to import, and most callers need no adapter

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # ty: ignore[invalid-argument-type] (PEFT takes any number)
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)
