"""The losses of other people's methods, from their papers' equations."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from reft.conversations.completions import completion_batch
from reft.conversations.tokenization import Encoded
from reft.finetuning.student_loss import completion_tokens
from reft.models.head import cross_entropy_sum, hidden_states
from reft.models.layers import output_head


def mean_cross_entropy(
    model: nn.Module, rows: Sequence[Encoded], pad_id: int, *, whole: Sequence[Encoded] | None = None
) -> torch.Tensor:
    """The sum over the rows' completion tokens, divided by the number in `whole`, the step's rows, or theirs."""
    if not rows:
        return torch.zeros(())
    batch = completion_batch(rows, pad_id, next(model.parameters()).device)
    hidden = batch.pick(hidden_states(model, batch.input_ids, batch.attention_mask))
    return cross_entropy_sum(model, hidden, batch.targets) / completion_tokens(list(whole or rows))


def proximal(parameters: Sequence[torch.Tensor], anchor: Sequence[torch.Tensor], rho: float) -> torch.Tensor:
    """rho / 2 * ||w - w_anchor||^2, what keeps one state of Lisa near the other (Huang et al. 2024, eq. 3)."""
    distances = [(p - a).pow(2).sum() for p, a in zip(parameters, anchor, strict=True)]
    return rho / 2 * torch.stack(distances).sum()


def token_log_probs(model: nn.Module, rows: Sequence[Encoded], pad_id: int) -> torch.Tensor:
    """log p of each completion token, [tokens], row after row."""
    batch = completion_batch(rows, pad_id, next(model.parameters()).device)
    hidden = batch.pick(hidden_states(model, batch.input_ids, batch.attention_mask))
    logits = output_head(model)(hidden).float()
    return -F.cross_entropy(logits, batch.targets, reduction="none")


def token_strengths(rows: Sequence[Encoded], first: float, early: float, *, later: float) -> torch.Tensor:
    """beta_t of each completion token, [tokens]: of the first, the second to fifth, and all others."""
    found = []
    for row in rows:
        for start, end in row.learnt:
            found += [first if t == 0 else early if t < 5 else later for t in range(end - start)]
    return torch.tensor(found)


def constrained(log_probs: torch.Tensor, reference: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """-2 / beta_t * log sigmoid(beta_t * log(p / p_ref)) of each token (Qi et al. 2024, eq. 3).

    As beta_t goes to 0 it is cross-entropy but for a constant; the larger, the less a token may drift.

    Args:
        log_probs, reference: [tokens], of the student and of the aligned start.
        beta: [tokens], positive.
    """
    return -2 / beta * F.logsigmoid(beta * (log_probs - reference))


def project(update: torch.Tensor, alignment: torch.Tensor) -> tuple[torch.Tensor, float]:
    """C update, with C = V V^T / ||V||_F and V = W_aligned - W_base (SafeLoRA, Hsu et al. 2024, section 3).

    Args:
        update, alignment: [out, in], of one weight matrix; `alignment` is V.

    Returns:
        The projected update, and its cosine with the update: the lower, the more the update points away from what
        alignment did.
    """
    projected = alignment @ (alignment.T @ update) / alignment.norm().clamp_min(1e-12)
    return projected, F.cosine_similarity(update.flatten(), projected.flatten(), dim=0).item()
