"""The teacher's soft labels, computed once and stored sparsely (method, step 5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from reft.conversations.batching import length_batches
from reft.conversations.completions import completion_batch
from reft.conversations.tokenization import Encoded
from reft.models.hardware import tokens_at_once
from reft.models.head import hidden_states
from reft.models.logits import logits_of
from reft.models.memory import return_freed_memory
from reft.storage.artifacts import read_json, write_json
from reft.storage.tensors import read_tensors


@dataclass(frozen=True, kw_only=True)
class SoftLabels:
    """Top-k log-probabilities of the teacher for every completion token of every alignment row.

    Attributes:
        log_probs: [tokens, k] float32, log p_teacher at the temperature, of the k likeliest tokens.
        indices: [tokens, k] int32, which tokens they are.
        starts: [rows + 1] int64; row i owns tokens starts[i] to starts[i + 1].
        temperature: T that both sides are softened by.
        rows: the row numbers of the alignment rows, in order.
    """

    log_probs: torch.Tensor
    indices: torch.Tensor
    starts: torch.Tensor
    temperature: float
    rows: tuple[int, ...]

    def of_row(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and token indices of one row, each [completion tokens, k]."""
        span = slice(int(self.starts[index]), int(self.starts[index + 1]))
        return self.log_probs[span], self.indices[span]

    def save(self, folder: Path) -> None:
        """Write `soft_labels.safetensors` and `soft_labels.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"log_probs": self.log_probs, "indices": self.indices, "starts": self.starts}
        save_file({k: v.contiguous() for k, v in tensors.items()}, str(folder / "soft_labels.safetensors"))
        write_json(folder / "soft_labels.json", {"temperature": self.temperature, "rows": self.rows})

    @classmethod
    def load(cls, folder: Path) -> "SoftLabels":
        """Read what `save` wrote.

        Raises:
            StorageError: a file is missing or damaged.
        """
        described = read_json(folder / "soft_labels.json")
        # A token that the teacher gives no chance at all has a logarithm of minus infinity.
        tensors = read_tensors(folder / "soft_labels.safetensors", finite=False)
        return cls(**tensors, temperature=described["temperature"], rows=tuple(described["rows"]))


@torch.inference_mode()
def compute_soft_labels(
    teacher: nn.Module,
    rows: Sequence[Encoded],
    row_numbers: Sequence[int],
    *,
    pad_id: int,
    top_k: int,
    temperature: float,
    report: Callable[[int, int], None] | None = None,
) -> SoftLabels:
    """Run the frozen teacher over the rows and keep the k likeliest tokens at each completion position."""
    device = next(teacher.parameters()).device
    kept: list[tuple[torch.Tensor, torch.Tensor]] = [(torch.empty(0), torch.empty(0))] * len(rows)
    done = 0
    for batch in length_batches([len(row) for row in rows], tokens_at_once(device)):
        inputs = completion_batch([rows[i] for i in batch], pad_id, device)
        hidden = inputs.pick(hidden_states(teacher, inputs.input_ids, inputs.attention_mask))
        log_probs = torch.log_softmax(logits_of(teacher, hidden) / temperature, dim=-1)
        top = log_probs.topk(min(top_k, log_probs.shape[-1]), dim=-1)
        sizes = [rows[i].learnt_tokens for i in batch]
        values, indices = top.values.cpu().split(sizes), top.indices.int().cpu().split(sizes)
        for index, value, which in zip(batch, values, indices, strict=True):
            kept[index] = (value, which)
        return_freed_memory()
        done += len(batch)
        if report:
            report(done, len(rows))
    lengths = torch.tensor([0] + [len(value) for value, _ in kept])
    return SoftLabels(
        log_probs=torch.cat([value for value, _ in kept]),
        indices=torch.cat([which for _, which in kept]),
        starts=lengths.cumsum(0),
        temperature=temperature,
        rows=tuple(row_numbers),
    )
