"""Reaching the decoder layers of any Hugging Face causal LM, whatever its modules are called."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import nn

from reft.errors import ModelError, explain


def decoder_of(model: nn.Module) -> Any:
    """The body below the language-modelling head (its last hidden state feeds the head)."""
    causal: Any = getattr(model, "get_base_model", lambda: model)()
    return causal.base_model if isinstance(causal, transformers.PreTrainedModel) else causal


def positions_of(config: Any) -> int | None:
    """How many tokens a model of this configuration has places for; None where it does not say."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The list of decoder layers, in order.

    Raises:
        ModelError: there is not exactly one list of as many modules as the model has layers.
    """
    decoder = decoder_of(model)
    count = decoder.config.get_text_config().num_hidden_layers
    found = [m for m in decoder.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    # A one-layer model has many lists of length one (its experts, its norms): the outermost comes first.
    if not found:
        raise ModelError(
            explain(
                f"no list of {count} decoder layers",
                type(decoder).__name__,
                "use a decoder-only causal language model",
            )
        )
    return found[0]


def layer_count(model: nn.Module) -> int:
    """How many decoder layers the model has."""
    return len(decoder_layers(model))


def output_head(model: nn.Module) -> nn.Module:
    """The projection from hidden states to vocabulary logits."""
    causal: Any = getattr(model, "get_base_model", lambda: model)()
    head = causal.get_output_embeddings()
    if head is None:
        raise ModelError(explain("no language-modelling head", type(causal).__name__, "use a causal LM"))
    return head


@contextmanager
def watch_layers(model: nn.Module, layers: list[int], see: Callable[[int, torch.Tensor], None]) -> Generator[None]:
    """Call `see(layer, residual)` with each named layer's output, [batch, tokens, hidden], as it runs.

    Layers are counted from 1, as in the method: f^l is the residual stream after layer l.
    """
    modules = decoder_layers(model)

    def hook_for(layer: int) -> Callable[[nn.Module, tuple, Any], None]:
        def hook(_module: nn.Module, _inputs: tuple, output: Any) -> None:
            see(layer, output[0] if isinstance(output, tuple) else output)

        return hook

    handles = [modules[layer - 1].register_forward_hook(hook_for(layer)) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Enough(Exception):
    """Raised inside a forward pass once the last wanted layer has run."""


def run_to_layer(
    model: nn.Module, layers: list[int], see: Callable[[int, torch.Tensor], None], **inputs: object
) -> None:
    """Run the body only as far as the highest of `layers`: neither the layers above nor the head run."""
    last = max(layers)

    def see_and_stop(layer: int, residual: torch.Tensor) -> None:
        see(layer, residual)
        if layer == last:
            raise _Enough

    with watch_layers(model, layers, see_and_stop):
        try:
            decoder_of(model)(**inputs, use_cache=False)
        except _Enough:
            return
