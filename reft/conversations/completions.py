"""Which positions of a padded batch predict a completion token, and which token each must predict."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from reft.conversations.batching import pad
from reft.conversations.tokenization import Encoded


@dataclass(frozen=True)
class CompletionBatch:
    """A right-padded batch with its completion tokens picked out.

    Attributes:
        input_ids, attention_mask: [batch, tokens].
        which: flat indices into [batch * tokens] of the positions that predict a completion token.
        targets: the token that each of them must predict, as long as `which`.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    which: torch.Tensor
    targets: torch.Tensor

    def pick(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states [batch, tokens, hidden] -> those that predict a completion token, [n, hidden]."""
        return hidden.flatten(0, 1)[self.which]


def completion_batch(rows: Sequence[Encoded], pad_id: int, device: torch.device) -> CompletionBatch:
    """Pad the rows and find their completions; each row must have one."""
    padded = pad(rows, pad_id, device)
    width = padded["input_ids"].shape[1]
    which = [
        index * width + position - 1  # the state at one token predicts the next
        for index, row in enumerate(rows)
        for position in range(*row.completion)
    ]
    targets = [row.input_ids[position] for row in rows for position in range(*row.completion)]
    return CompletionBatch(
        **padded, which=torch.tensor(which, device=device), targets=torch.tensor(targets, device=device)
    )
