"""The vocabulary projection, computed only where a loss needs it.

Logits over a vocabulary of 50,000 to 250,000 tokens are the largest tensors of a training step.
Only completion tokens carry a loss, so only their hidden states are projected, in chunks whose
logits are made again in the backward pass instead of being kept.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from reft.models.layers import decoder_of, output_head
from reft.models.logits import logits_of

# Of whose logits the memory is taken at once.
TOKENS_PER_CHUNK = 512


def hidden_states(
    model: nn.Module,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    position_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    """The last hidden states, [batch, tokens, hidden], as the head takes them.

    Args:
        position_ids: of rows packed end to end, without a mask; None counts from the first token that is not masked.
    """
    positions = {} if position_ids is None else {"position_ids": position_ids}
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, **positions}
    return decoder_of(model)(**inputs, use_cache=False).last_hidden_state


def copy_views(model: nn.Module) -> None:
    """Let the head copy states that are a view, as those of the last token are while a model answers prompts.

    PyTorch multiplies such a view by frozen weights as if each row of the batch had weights of its own: gigabytes of
    copies, and seconds a batch (`findings/torch_frozen_linear_view.sh`).
    """
    output_head(model).register_forward_pre_hook(_contiguous)


def _contiguous(_head: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (inputs[0].contiguous(), *inputs[1:])


def sum_over_chunks(
    model: nn.Module,
    hidden: torch.Tensor,
    loss: Callable[[torch.Tensor, slice], torch.Tensor],
    *,
    least_chunks: int = 0,
) -> torch.Tensor:
    """Sum `loss(logits, which)` over chunks of tokens; at most one chunk's logits are alive at a time.

    Args:
        hidden: [tokens, hidden] of the positions that carry a loss.
        loss: takes logits [chunk, vocabulary], at least float32, and the slice of tokens they belong to, and
            returns the sum of those tokens' losses.
        least_chunks: how often the head is called at least, for want of tokens with none (`chunks_of`).
    """

    def of_chunk(part: torch.Tensor, start: int) -> torch.Tensor:
        return loss(logits_of(model, part), slice(start, start + len(part)))

    precise = torch.promote_types(hidden.dtype, torch.float32)
    total = hidden.new_zeros((), dtype=precise)
    chunks = max(least_chunks, chunks_of(len(hidden)))
    for start in range(0, chunks * TOKENS_PER_CHUNK, TOKENS_PER_CHUNK):
        part = hidden[start : start + TOKENS_PER_CHUNK]
        if torch.is_grad_enabled() and chunks > 1:
            total = total + checkpoint(of_chunk, part, start, use_reentrant=False)
        else:
            total = total + of_chunk(part, start)
    return total


def chunks_of(tokens: int) -> int:
    """How many chunks so many tokens make."""
    return math.ceil(tokens / TOKENS_PER_CHUNK)


def cross_entropy_sum(
    model: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, *, least_chunks: int = 0
) -> torch.Tensor:
    """Summed cross-entropy of `targets` [tokens] given `hidden` [tokens, hidden]."""
    return sum_over_chunks(
        model,
        hidden,
        lambda logits, which: F.cross_entropy(logits, targets[which], reduction="sum"),
        least_chunks=least_chunks,
    )


@torch.inference_mode()
def log_likelihoods(
    model: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, *, tokens_per_chunk: int = 512
) -> torch.Tensor:
    """Log-probability of each of `targets` [tokens] given `hidden` [tokens, hidden], float32."""
    chunks = zip(hidden.split(tokens_per_chunk), targets.split(tokens_per_chunk), strict=True)
    return torch.cat([-F.cross_entropy(logits_of(model, part), wanted, reduction="none") for part, wanted in chunks])
