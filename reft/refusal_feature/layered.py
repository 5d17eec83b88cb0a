"""The refusal feature of many layers, read as one number: what the filter scores rows with.

A diagonal linear discriminant (Dudoit et al. 2002): each activation counts by how far apart the class means lie in it,
over its variance. In closed form, so it needs one pass over the rows, and holds nothing but sums. A single layer's
direction tells least of prompts unlike those it was made from; which of the candidates to take was chosen on sources
left out (`benchmarks/readouts.py`).

Sentences and windows of a text read otherwise than whole prompts do, and among many one may read high by accident: they
have a discriminant that was made from sentences of harmless prompts too. Those are no prompts, so that the one for
whole texts tells requests apart better without them.

Messages that make the assistant somebody without judgement ask for no harm and lie elsewhere: they have a discriminant
of their own, of the same features.

All of those read the two tokens where a text ends. Its other tokens are read too (`reft/refusal_feature/tokens.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from reft.conversations.schema import Conversation, from_prompt
from reft.conversations.sentences import sentences
from reft.conversations.tokenization import Encoded, encode_prompts
from reft.refusal_feature.discriminant import Sums
from reft.refusal_feature.extraction import LabelledPrompts
from reft.refusal_feature.features import at_positions, token_indices, visit_residuals
from reft.refusal_feature.tokens import Reading, TokenReadout, TokenSums
from reft.runtime.progress import Report
from reft.storage.artifacts import as_written, read_json, write_json
from reft.storage.digests import require_sealed, seal
from reft.storage.tensors import read_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Harmless texts come nearer to identity shifts than to requests for harm, half a gap nearer: so much is taken off.
NEARER = 1.0
# Which readout is which.
WHOLE, PIECES, SHIFTS = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class LayeredFeature:
    """Linear readouts of several layers' features: of requests for harm in whole texts, of requests in pieces of texts,
    and of identity shifts where it knows some.

    Attributes:
        weights: [2 or 3 readouts, layers, positions, hidden], float32; positions as in `features.POSITIONS`.
        offsets: what is taken off each readout, [readouts].
        layers: counted from 1, from the lowest up.
        tokens: of the same layers at every token; None: an earlier build's, which has none.
    """

    weights: torch.Tensor
    offsets: torch.Tensor
    layers: tuple[int, ...]
    tokens: TokenReadout | None = None

    def read(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: Sequence[Encoded],
        *,
        pieces: bool = False,
    ) -> list[float]:
        """How harmful each prompt is, by its highest readout. By each readout the means of its classes read 1 and -1.

        Args:
            pieces: these are sentences or windows of texts.
        """
        read = torch.zeros(len(rows), len(self.weights))
        weights = self.weights.to(model.device)
        slot = {layer: index for index, layer in enumerate(self.layers)}
        where = token_indices(rows)
        tokens = Reading(self.tokens, rows, model.device) if self.tokens else None

        def add(batch: torch.Tensor, layer: int, residual: torch.Tensor) -> None:
            features = at_positions(residual, where[batch])
            read[batch] += torch.einsum("bph,rph->br", features, weights[:, slot[layer]]).cpu()
            if tokens:
                tokens.add(batch, slot[layer], residual)

        visit_residuals(model, tokenizer, rows, layers=self.layers, visit=add)
        read -= self.offsets
        found = [read[:, [PIECES if pieces else WHOLE]], read[:, SHIFTS:]]
        return torch.cat([*found, tokens.highest()[:, None]] if tokens else found, 1).amax(1).tolist()

    def save(self, folder: Path) -> None:
        """Write `layered.safetensors` and `layered.json` into the folder, and their digests."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"weights": self.weights.contiguous(), "offsets": self.offsets.contiguous()}
        if self.tokens:
            tensors |= {"token_weights": self.tokens.weights.contiguous(), "token_offset": self.tokens.offset}
        save_file(tensors, str(folder / "layered.safetensors"))
        write_json(folder / "layered.json", {"layers": list(self.layers), "readouts": len(self.weights)})
        seal(folder)

    @classmethod
    def load(cls, folder: Path) -> LayeredFeature:
        """Read what `save` wrote.

        Raises:
            StorageError: a file is missing, damaged or changed since, or a number in it is none.
        """
        require_sealed(folder, "run the step that makes this artifact again")
        file = folder / "layered.json"
        described: dict[str, Any] = read_json(file)
        tensors = read_tensors(folder / "layered.safetensors")
        with as_written(file):
            layers, weights, offsets = tuple(map(int, described["layers"])), tensors["weights"], tensors["offsets"]
            if "readouts" not in described:  # an earlier build's: one for whole texts and pieces
                weights, offsets = (torch.cat([found[:1], found]) for found in (weights, offsets))
            tokens = None
            if "token_weights" in tensors:
                tokens = TokenReadout(weights=tensors["token_weights"], offset=tensors["token_offset"])
            return cls(weights=weights, offsets=offsets, layers=layers, tokens=tokens)


def fit_layered(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    fitting: LabelledPrompts,
    *,
    layers: Sequence[int],
    shifts: LabelledPrompts | None = None,
    report: Report | None = None,
) -> LayeredFeature:
    """The readouts of these layers that tell the prompts apart.

    For pieces, the sentences of harmless prompts count as harmless too; of harmful ones not every sentence is harmful.

    Args:
        layers: counted from 1, in any order.
        shifts: messages that shift the assistant's identity, and harmless ones in the same words.
    """
    layers = sorted(layers)
    pieces = [piece for row in fitting.harmless for piece in _pieces(row)]
    groups = [fitting.harmful, fitting.harmless, pieces, *((shifts.harmful, shifts.harmless) if shifts else ())]
    encoded = [encode_prompts(tokenizer, rows) for rows in groups]
    rows = [row for group in encoded for row in group]
    sums = Sums([len(group) for group in encoded], layers)
    tokens = TokenSums([*encoded[0], *encoded[1]], len(encoded[0]), layers)
    of_group = torch.repeat_interleave(torch.tensor([len(group) for group in encoded]))
    where = token_indices(rows)

    def add(batch: torch.Tensor, layer: int, residual: torch.Tensor) -> None:
        sums.add(of_group[batch], layer, at_positions(residual, where[batch]))
        tokens.add(batch, layer, residual)

    visit_residuals(model, tokenizer, rows, layers=layers, visit=add, report=report)
    readouts = [sums.discriminant([0], [1]), sums.discriminant([0], [1, 2])]
    if shifts:
        readouts.append(sums.discriminant([3], [1, 2, 4], nearer=NEARER))
    weights, offsets = (torch.stack(found).float() for found in zip(*readouts, strict=True))
    return LayeredFeature(weights=weights, offsets=offsets, layers=tuple(layers), tokens=tokens.readout())


def _pieces(row: Conversation) -> list[Conversation]:
    texts = [message.content for message in row.prompt if message.role == "user"]
    found = [(text, sentences(text)) for text in texts]
    return [from_prompt(text[a:b].strip(), row.row) for text, spans in found if len(spans) > 1 for a, b in spans]
