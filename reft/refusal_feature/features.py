"""Reading the residual stream: the activation after each layer at the two positions that matter.

The last token of the user's instruction is where harmfulness shows, the last token before the
answer where refusal does (arXiv 2507.11878); both are candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    def keep(batch: torch.Tensor, layer: int, found: torch.Tensor) -> None:
        nonlocal features
        if features is None:
            features = torch.empty(len(rows), len(layers), len(positions), found.shape[-1])
        features[batch, slot[layer]] = found.cpu()

    visit_features(
        model, tokenizer, rows, layers=layers, positions=positions, tokens_per_batch=tokens_per_batch, visit=keep,
        report=report,
    )  # fmt: skip
    if features is None:
        raise ValueError("no rows to read features from")
    return features


@torch.inference_mode()
def visit_features(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Encoded],
    *,
    layers: Sequence[int],
    visit: Callable[[torch.Tensor, int, torch.Tensor], None],
    positions: Sequence[Position] = POSITIONS,
    tokens_per_batch: int | None = None,
    report: Report | None = None,
) -> None:
    """The same one batch and layer after another, for what need not hold all of them in memory.

    Args:
        visit: called with which rows these are, [batch], the layer's number, and their features on the model's
            device, float32, [batch, positions, hidden].
    """
    done = 0
    budget = tokens_per_batch or tokens_at_once(model.device)
    for batch in length_batches([len(row) for row in rows], budget):
        chosen = [rows[i] for i in batch]
        where = torch.tensor([[token_index(row, p) for p in positions] for row in chosen], device=model.device)
        which = torch.arange(len(batch), device=model.device)[:, None]
        numbers = torch.tensor(batch)

        def keep(layer: int, residual: torch.Tensor) -> None:
            visit(numbers, layer, residual[which, where].float())  # noqa: B023 (runs at once)

        run_to_layer(model, list(layers), keep, **pad(chosen, tokenizer.pad_token_id, model.device))
        done += len(batch)
        if report:
            report(done, len(rows))
