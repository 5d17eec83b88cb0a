"""Reading the residual stream: the activation after each layer, at the two positions that tell most or at every token.

The last token of the user's instruction is where harmfulness shows, the last token before the
answer where refusal does (arXiv 2507.11878); both are candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

import torch

from reft.conversations.batching import length_batches, pad
from reft.conversations.tokenization import Encoded
from reft.models.hardware import tokens_at_once
from reft.models.layers import run_to_layer
from reft.runtime.progress import Report

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Position = Literal["instruction", "template"]
POSITIONS: tuple[Position, ...] = get_args(Position)
Visit = Callable[[torch.Tensor, int, torch.Tensor], None]


def token_index(row: Encoded, position: Position) -> int:
    """Which token of a row the position names."""
    return row.instruction_end if position == "instruction" else row.prompt_end


def collect_features(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Encoded],
    *,
    layers: Sequence[int],
    positions: Sequence[Position] = POSITIONS,
    tokens_per_batch: int | None = None,
    report: Report | None = None,
) -> torch.Tensor:
    """Features f^l(x) of every row, float32 on the CPU, [rows, layers, positions, hidden].

    Only the layers up to the highest one asked for are computed, and no vocabulary logits.

    Args:
        layers: layer numbers from 1 to the model's number of layers.
        tokens_per_batch: None: as many as this hardware takes best.
        report: called with (rows so far, rows in all) after each batch.
    """
    features: torch.Tensor | None = None
    slot = {layer: index for index, layer in enumerate(layers)}
    where = token_indices(rows, positions)

    def keep(batch: torch.Tensor, layer: int, residual: torch.Tensor) -> None:
        nonlocal features
        if features is None:
            features = torch.empty(len(rows), len(layers), len(positions), residual.shape[-1])
        features[batch, slot[layer]] = at_positions(residual, where[batch]).cpu()

    visit_residuals(model, tokenizer, rows, layers=layers, visit=keep, tokens_per_batch=tokens_per_batch, report=report)
    if features is None:
        raise ValueError("no rows to read features from")
    return features


def token_indices(rows: Sequence[Encoded], positions: Sequence[Position] = POSITIONS) -> torch.Tensor:
    """Which token each position of each row names, [rows, positions]."""
    return torch.tensor([[token_index(row, position) for position in positions] for row in rows])


def at_positions(residual: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """What [batch, tokens, hidden] holds at [batch, positions]; float32, [batch, positions, hidden]."""
    which = torch.arange(len(where), device=residual.device)[:, None]
    return residual[which, where.to(residual.device)].float()


@torch.inference_mode()
def visit_residuals(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Encoded],
    *,
    layers: Sequence[int],
    visit: Visit,
    tokens_per_batch: int | None = None,
    report: Report | None = None,
) -> None:
    """The activations at every token, one batch and layer after another.

    Args:
        layers: from the lowest up, as they are visited.
        visit: called with which rows these are, [batch], the layer's number, and its residual stream on the model's
            device, [batch, tokens, hidden]; what stands after a row's last token is padding.
    """
    done = 0
    budget = tokens_per_batch or tokens_at_once(model.device)
    for batch in length_batches([len(row) for row in rows], budget):
        numbers = torch.tensor(batch)
        inputs = pad([rows[i] for i in batch], tokenizer.pad_token_id, model.device)
        run_to_layer(model, list(layers), partial(visit, numbers), **inputs)
        done += len(batch)
        if report:
            report(done, len(rows))
