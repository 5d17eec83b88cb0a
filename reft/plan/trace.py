"""What a training step keeps for its backward pass, found by running the step on tensors without memory.

The model's own code runs, so that no formula has to follow every architecture; nothing is computed.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM

from reft.config import LoraSettings
from reft.models.adapters import wrap_lora
from reft.models.head import cross_entropy_sum, hidden_states


@dataclass(frozen=True, kw_only=True)
class Traced:
    """A model in numbers.

    Attributes:
        frozen, trainable: how many weights of each.
        linear: frozen weights that a base in 4 bits quantises: of linear modules but the output head.
        largest: weights of the largest module that ZeRO 3 gathers at once: a matrix, or a leaf of several.
        saved: bytes kept from the forward pass for the backward pass, weights aside.
        layers: how many decoder layers.
    """

    frozen: int
    trainable: int
    linear: int
    largest: int
    saved: int
    layers: int


def trace(
    config: Any,
    lora: LoraSettings | None,
    rows: int,
    *,
    tokens: int,
    learnt: int,
    dtype: torch.dtype = torch.bfloat16,
    checkpointing: bool = False,
) -> Traced:
    """One step of `rows` rows of `tokens` tokens each, of which `learnt` carry a loss.

    Args:
        config: of transformers.
        checkpointing: keep each layer's input alone and run the layer again in the backward pass.
    """
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by an old name
        kind = {"dtype": dtype, "attn_implementation": "sdpa", "trust_remote_code": False}
        model: Any = AutoModelForCausalLM.from_config(config, **kind).train()
        if lora is not None:
            adapted: Any = wrap_lora(model, lora)
            model = adapted.to(dtype)  # the LoRA matrices, too, as both trainings hold them
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    with FakeTensorMode():
        _pretend_to_be_there(model)
        weights = dict(model.named_parameters())
        ids = torch.zeros(rows, tokens, dtype=torch.long)
        return Traced(
            frozen=sum(w.numel() for w in weights.values() if not w.requires_grad),
            trainable=sum(w.numel() for w in weights.values() if w.requires_grad),
            linear=_frozen_linear(model),
            largest=max(sum(w.numel() for w in module.parameters(recurse=False)) for module in model.modules()),
            saved=saved_bytes(model, ids, learnt),
            layers=config.get_text_config().num_hidden_layers,
        )


def _frozen_linear(model: Any) -> int:
    head = model.get_output_embeddings()
    linear = (module.weight for module in model.modules() if isinstance(module, nn.Linear) and module is not head)
    return sum(weight.numel() for weight in linear if not weight.requires_grad)


def _pretend_to_be_there(model: nn.Module) -> None:
    """Put fake CPU tensors in the place of the model's meta tensors: only those choose attention's real kernel."""
    fake: dict[int, torch.Tensor] = {}

    def of(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in fake:
            empty = torch.empty(tensor.shape, dtype=tensor.dtype)
            is_weight = isinstance(tensor, nn.Parameter)
            fake[id(tensor)] = nn.Parameter(empty, requires_grad=tensor.requires_grad) if is_weight else empty
        return fake[id(tensor)]

    def swap(places: Any) -> None:
        places |= {name: of(tensor) for name, tensor in places.items() if tensor is not None}

    for module in model.modules():
        swap(module._parameters)
        swap(module._buffers)


def saved_bytes(model: nn.Module, ids: torch.Tensor, learnt: int) -> int:
    """Bytes that autograd keeps of a step's forward pass; a storage that several operations keep counts once.

    Args:
        ids: [rows, tokens].
        learnt: how many tokens of each row, the last ones, carry a loss.
    """
    own = {w.untyped_storage()._cdata for w in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = hidden_states(model, ids, None)[:, -learnt - 1 : -1].flatten(0, 1)
        loss = cross_entropy_sum(model, hidden, ids[:, -learnt:].flatten())
    del loss
    return sum(kept.values())
