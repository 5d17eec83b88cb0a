"""The refusal feature read at every token of what a user says: no suffix lowers what was read before it.

What a causal model holds at a token depends on nothing that comes after it. What is read where a text ends can be
lowered by a suffix that was searched for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from reft.conversations.tokenization import Encoded
from reft.refusal_feature.discriminant import Sums

# A text's first tokens do not say yet what is asked, nor do those of a harmful request before the last two in five.
SKIPPED, TOLD = 3, 0.6
# How many tokens in a row are read as one: a single one reads high by accident.
WINDOW = 6
# Taken off, since the highest of many windows stands beside one reading of the whole (`benchmarks/token_readouts.py`).
MARGIN = 1.0


def asked(row: Encoded, share: float = 0.0) -> tuple[int, int]:
    """Half-open range of the last user turn's tokens without its first `SKIPPED`, or without this share of it.

    Never empty: of an empty turn it is the token before it, at which other readouts take it to end, too.
    """
    end = row.instruction_end + 1
    start = max((first for first, last in row.turns if last == end), default=0)
    return min(start + max(SKIPPED, int(share * (end - start))), end - 1), end


@dataclass(frozen=True, kw_only=True)
class TokenReadout:
    """A linear readout of several layers' activations at one token.

    Attributes:
        weights: [layers, hidden], float32.
        offset: taken off.
    """

    weights: torch.Tensor
    offset: torch.Tensor


class Reading:
    """One pass over some rows.

    Attributes:
        scores: of each row's tokens that are read, [tokens].
    """

    def __init__(self, readout: TokenReadout, rows: Sequence[Encoded], device: torch.device) -> None:
        self.scores = [torch.zeros(0)] * len(rows)
        self._spans = [asked(row) for row in rows]
        self._weights, self._offset = readout.weights.to(device), float(readout.offset)
        self._sum = torch.zeros(())

    def add(self, batch: torch.Tensor, slot: int, residual: torch.Tensor) -> None:
        """The residual stream [batch, tokens, hidden] of these rows at each layer in turn, the lowest in slot 0."""
        read = residual.float() @ self._weights[slot]
        self._sum = self._sum + read if slot else read
        if slot == len(self._weights) - 1:
            for row, scores in zip(batch.tolist(), self._sum.cpu() - self._offset, strict=True):
                self.scores[row] = scores[slice(*self._spans[row])].clone()  # not the batch that it is a view of

    def highest(self, window: int = WINDOW) -> torch.Tensor:
        """Of each row the highest mean of so many tokens in a row, [rows]."""
        return torch.tensor([float(s.unfold(0, min(window, len(s)), 1).mean(1).max()) for s in self.scores])


class TokenSums:
    """What the readout is made from: the tokens of harmful requests once they have told, and all of harmless ones.

    Args:
        rows: harmful ones, then harmless ones.
    """

    def __init__(self, rows: Sequence[Encoded], harmful: int, layers: Sequence[int]) -> None:
        self._spans = [asked(row, TOLD if index < harmful else 0.0) for index, row in enumerate(rows)]
        self._harmful = harmful
        lengths = [end - start for start, end in self._spans]
        self._sums = Sums([sum(lengths[:harmful]), sum(lengths[harmful:])], layers)

    def add(self, batch: torch.Tensor, layer: int, residual: torch.Tensor) -> None:
        """The residual stream [batch, tokens, hidden] of rows at one layer; rows beyond those above are passed over."""
        tokens, groups = [], []
        for place, row in enumerate(batch.tolist()):
            if row < len(self._spans):
                start, end = self._spans[row]
                tokens.append(residual[place, start:end])
                groups += [int(row >= self._harmful)] * (end - start)
        if tokens:
            self._sums.add(torch.tensor(groups), layer, torch.cat(tokens)[:, None])

    def readout(self) -> TokenReadout:
        """The readout, by the discriminant of both."""
        weights, offset = self._sums.discriminant([0], [1], nearer=MARGIN)
        return TokenReadout(weights=weights[:, 0].float(), offset=offset.float())
