"""A model's logits, made of hidden states as its own forward pass makes them: many scale or cap what the head gives."""

from typing import Any

import torch
from torch import nn

from reft.errors import ModelError, explain
from reft.models.layers import decoder_of, output_head

# What a configuration may say of its logits. A model that does something else to them is refused when it is loaded.
TIMES = ("logit_scale", "lm_head_multiplier", "output_multiplier")
DIVIDED = ("logits_scaling",)
CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
# Of the largest logit: numbers of 16 bits lie closer, and a factor that is forgotten is further away.
TOLERANCE = 0.02


def logits_of(model: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """[..., hidden] -> [..., vocabulary], at least float32."""
    logits = output_head(model)(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    scale, cap = _scale_and_cap(decoder_of(model).config.get_text_config())
    if scale != 1:
        logits = logits * scale
    return cap * torch.tanh(logits / cap) if cap else logits


def _scale_and_cap(config: Any) -> tuple[float, float | None]:
    said = {name: value for name in (*TIMES, *DIVIDED, *CAPS) if (value := getattr(config, name, None)) is not None}
    if config.model_type == "mpt":
        said.pop("logit_scale", None)  # its code takes no notice
    scale = 1.0
    for name in TIMES:
        scale *= said.get(name, 1.0)
    for name in DIVIDED:
        # Granite's family divides; this one gives the same name to a factor.
        scale = scale * said.get(name, 1.0) if config.model_type == "hyperclovax" else scale / said.get(name, 1.0)
    return scale, next((said[name] for name in CAPS if name in said), None)


@torch.no_grad()
def require_known_logits(model: Any, name: str) -> None:
    """See that `logits_of` says what the model itself says of a few tokens.

    Raises:
        ModelError: it does not; losses and likelihoods would belong to another distribution than the answers.
    """
    ids = torch.arange(min(8, model.config.get_text_config().vocab_size), device=model.device)[None]
    own = model(input_ids=ids, use_cache=False).logits.float()
    ours = logits_of(model, decoder_of(model)(input_ids=ids, use_cache=False).last_hidden_state).float()
    if own.shape != ours.shape or (own - ours).abs().max() > TOLERANCE * own.abs().max():
        what = f"a {model.config.model_type} model changes its logits in a way that is not known here"
        raise ModelError(
            explain(what, name, "use another model, or add what its configuration says to reft.models.logits")
        )
