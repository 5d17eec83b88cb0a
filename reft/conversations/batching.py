"""Batches of similar length under a token budget, so that little is spent on padding."""

from collections.abc import Sequence

import torch

from reft.conversations.tokenization import Encoded


def length_batches(lengths: Sequence[int], tokens_per_batch: int) -> list[list[int]]:
    """Group indices, longest first, so that each padded batch holds at most `tokens_per_batch` tokens.

    A row longer than the budget gets a batch of its own.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and (len(batches[-1]) + 1) * longest <= tokens_per_batch:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def pad(rows: Sequence[Encoded], pad_id: int, device: torch.device, *, left: bool = False) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask`, both [batch, tokens]; padded on the right unless `left`."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, where] = torch.tensor(row.input_ids)
        mask[index, where] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
