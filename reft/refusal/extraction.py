"""Step 1: difference of means at every layer and both positions, chosen on held-out prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.metrics import roc_auc_score
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reft.conversations.schema import Conversation
from reft.conversations.tokenization import Encoded, encode_prompts
from reft.models.layers import layer_count
from reft.progress import Report
from reft.refusal.feature import RefusalFeature, Separation
from reft.refusal.features import POSITIONS, Position, collect_features


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
    held_out: LabelledPrompts,
    layers: Sequence[int] | None = None,
    positions: Sequence[Position] = POSITIONS,
    tolerance: float = 0.01,
    report: Report | None = None,
    fingerprint: str = "",
) -> RefusalFeature:
    """The refusal feature at the earliest layer whose held-out AUROC is within `tolerance` of the best.

    Early is better because every later scoring pass runs only up to the chosen layer.

    Args:
        fitting: prompts whose means make R and c.
        held_out: prompts, best from other sources, on which layer and position are chosen, by their weights.
        layers: candidates, counted from 1; None tries every one.
    """
    layers = list(layers or range(1, layer_count(model) + 1))
    groups = [*fitting.encoded(tokenizer), *held_out.encoded(tokenizer)]
    rows = [row for group in groups for row in group]
    features = collect_features(model, tokenizer, rows, layers, positions, report=report)
    harmful, harmless, held_harmful, held_harmless = features.split([len(g) for g in groups])
    direction = harmful.mean(0) - harmless.mean(0)
    midpoint = (harmful.mean(0) + harmless.mean(0)) / 2
    labels = [1] * len(held_harmful) + [0] * len(held_harmless)
    weights = [1.0] * len(held_harmful) + list(held_out.harmless_weights or [1.0] * len(held_harmless))
    scores = torch.nn.functional.cosine_similarity(
        torch.cat([held_harmful, held_harmless]) - midpoint, direction.expand_as(features[: len(labels)]), dim=-1
    )
    separations = tuple(
        Separation(layer, position, float(roc_auc_score(labels, scores[:, i, j].numpy(), sample_weight=weights)))
        for i, layer in enumerate(layers)
        for j, position in enumerate(positions)
    )
    chosen = earliest_good(separations, tolerance)
    i, j = layers.index(chosen.layer), list(positions).index(chosen.position)
    return RefusalFeature(
        direction[i, j].clone(), midpoint[i, j].clone(), chosen.layer, chosen.position, separations, fingerprint
    )


def feature_at_depth(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    fitting: LabelledPrompts,
    held_out: LabelledPrompts,
    depth: float,
    position: Position,
) -> RefusalFeature:
    """The refusal feature at a stated place: `depth` in (0, 1], where 1 is the last layer."""
    layer = max(1, round(depth * layer_count(model)))
    return extract_refusal_feature(model, tokenizer, fitting, held_out, [layer], [position])


def earliest_good(separations: Sequence[Separation], tolerance: float) -> Separation:
    """The earliest layer within `tolerance` of the best AUROC; at that layer, the better position."""
    best = max(s.auroc for s in separations)
    good = [s for s in separations if s.auroc >= best - tolerance]
    return min(good, key=lambda s: (s.layer, -s.auroc))
