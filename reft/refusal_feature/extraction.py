"""Step 1: a direction at every layer and both positions, chosen on held-out prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from reft.conversations.schema import Conversation
from reft.conversations.tokenization import Encoded, encode_prompts
from reft.models.layers import layer_count
from reft.refusal_feature.feature import RefusalFeature, Separation
from reft.refusal_feature.features import POSITIONS, Position, collect_features
from reft.refusal_feature.readouts import DIRECTIONS, Readout, midpoint_of
from reft.runtime.progress import Report
from reft.statistics import auroc

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LabelledPrompts:
    """Harmful and harmless conversations; only their prompts are read.

    `harmless_weights` says how many of a customer's rows each harmless one stands for; None: all alike.
    """

    harmful: Sequence[Conversation]
    harmless: Sequence[Conversation]
    harmless_weights: Sequence[float] | None = None

    def encoded(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[Encoded], list[Encoded]]:
        """Both classes tokenised up to where the answer begins."""
        return encode_prompts(tokenizer, self.harmful), encode_prompts(tokenizer, self.harmless)


def extract_refusal_feature(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    fitting: LabelledPrompts,
    *,
    held_out: LabelledPrompts,
    layers: Sequence[int] | None = None,
    positions: Sequence[Position] = POSITIONS,
    tolerance: float = 0.01,
    report: Report | None = None,
    fingerprint: str = "",
    readouts: Sequence[Readout] = ("mean",),
) -> RefusalFeature:
    """The refusal feature at the earliest layer whose held-out AUROC is within `tolerance` of the best.

    Early is better because every later scoring pass runs only up to the chosen layer.

    Args:
        fitting: prompts that make the direction and the midpoint.
        held_out: prompts, best from other sources, on which layer, position and readout are chosen, by their weights.
        layers: candidates, counted from 1; None tries every one.
        readouts: candidate directions.
    """
    layers = list(layers or range(1, layer_count(model) + 1))
    groups = [*fitting.encoded(tokenizer), *held_out.encoded(tokenizer)]
    rows = [row for group in groups for row in group]
    features = collect_features(model, tokenizer, rows, layers=layers, positions=positions, report=report)
    made = _candidates(
        features.split([len(g) for g in groups]),
        places=list(product(enumerate(layers), enumerate(positions), readouts)),
        weights=held_out.harmless_weights,
    )
    chosen = earliest_good(tuple(made), tolerance)
    direction, midpoint = made[chosen]
    return RefusalFeature(
        direction=direction,
        midpoint=midpoint,
        layer=chosen.layer,
        position=chosen.position,
        separations=tuple(made),
        fingerprint=fingerprint,
        readout=chosen.readout,
    )


def _candidates(
    features: Sequence[torch.Tensor],
    *,
    places: Sequence[tuple[tuple[int, int], tuple[int, Position], Readout]],
    weights: Sequence[float] | None,
) -> dict[Separation, tuple[torch.Tensor, torch.Tensor]]:
    """Direction and midpoint at every place, by how well they separate the held-out prompts.

    Args:
        features: of harmful and harmless prompts, and of those held out, each [prompts, layers, positions, hidden].
        places: (index, layer), (index, position) and readout.
        weights: of the held-out harmless prompts; None weighs all the same.
    """
    harmful, harmless, held_harmful, held_harmless = features
    held = torch.cat([held_harmful, held_harmless])
    made = {}
    for (i, layer), (j, position), readout in places:
        midpoint = midpoint_of(harmful[:, i, j], harmless[:, i, j])
        direction = DIRECTIONS[readout](harmful[:, i, j], harmless[:, i, j])
        scores = F.cosine_similarity(held[:, i, j] - midpoint, direction, dim=-1)
        harmful_scores, harmless_scores = scores[: len(held_harmful)].tolist(), scores[len(held_harmful) :].tolist()
        separated = auroc(harmful_scores, harmless_scores, weights)
        made[Separation(layer, position, separated, readout)] = direction, midpoint
    return made


def feature_at_depth(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    fitting: LabelledPrompts,
    *,
    held_out: LabelledPrompts,
    depth: float,
    position: Position,
) -> RefusalFeature:
    """The refusal feature at a stated place: `depth` in (0, 1], where 1 is the last layer."""
    layer = depth_to_layer(model, depth)
    return extract_refusal_feature(model, tokenizer, fitting, held_out=held_out, layers=[layer], positions=[position])


def depth_to_layer(model: PreTrainedModel, depth: float) -> int:
    """The layer, from 1, at a depth in (0, 1]."""
    return max(1, round(depth * layer_count(model)))


def earliest_good(separations: Sequence[Separation], tolerance: float) -> Separation:
    """The earliest layer within `tolerance` of the best AUROC; at that layer, the best position and readout."""
    best = max(s.auroc for s in separations)
    good = [s for s in separations if s.auroc >= best - tolerance]
    return min(good, key=lambda s: (s.layer, -s.auroc))
