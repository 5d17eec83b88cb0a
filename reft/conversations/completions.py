"""Which positions of a batch predict a completion token, and which token each must predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from reft.conversations.batching import pad
from reft.conversations.tokenization import Encoded


@dataclass(frozen=True, kw_only=True)
class CompletionBatch:
    """A right-padded batch, or rows packed end to end, with the completion tokens picked out.

    Attributes:
        input_ids: [batch, tokens]; packed: [1, all tokens].
        attention_mask: [batch, tokens]; packed: None.
        position_ids: packed: [1, all tokens], starting anew with each row, which keeps the rows apart; else None.
        which: flat indices into [batch * tokens] of the positions that predict a completion token.
        targets: the token that each of them must predict, as long as `which`.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    position_ids: torch.Tensor | None
    which: torch.Tensor
    targets: torch.Tensor

    def pick(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states [batch, tokens, hidden] -> those that predict a completion token, [n, hidden]."""
        return hidden.flatten(0, 1)[self.which]


def completion_batch(
    rows: Sequence[Encoded], pad_id: int, device: torch.device, *, packed: bool = False
) -> CompletionBatch:
    """Pad or pack the rows and find what is learnt of them; each row must have an answer."""
    mask, positions = None, None
    if packed:
        ids = torch.tensor([[token for row in rows for token in row.input_ids]], device=device)
        positions = torch.cat([torch.arange(len(row)) for row in rows])[None].to(device)
        starts = list(accumulate(map(len, rows), initial=0))
    else:
        ids, mask = pad(rows, pad_id, device).values()
        starts = list(range(0, ids.numel(), ids.shape[1]))
    which = [
        start + position - 1  # the state at one token predicts the next
        for start, row in zip(starts, rows, strict=False)
        for span in row.learnt
        for position in range(*span)
    ]
    targets = [row.input_ids[position] for row in rows for span in row.learnt for position in range(*span)]
    return CompletionBatch(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        which=torch.tensor(which, device=device),
        targets=torch.tensor(targets, device=device),
    )
