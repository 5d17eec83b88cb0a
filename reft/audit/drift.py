"""How far a student is from its teacher, told without labels: what it begins to say, and its refusal feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from reft.conversations.batching import length_batches
from reft.conversations.completions import completion_batch
from reft.conversations.schema import Conversation, Message, from_prompt
from reft.conversations.tokenization import Encoded, encode, encode_prompts
from reft.finetuning.kl import sparse_kl_sum
from reft.models.hardware import tokens_at_once
from reft.models.head import hidden_states
from reft.models.logits import logits_of
from reft.refusal_feature.feature import RefusalFeature
from reft.refusal_feature.features import collect_features
from reft.soft_labels.labels import SoftLabels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Answers are decided in their first tokens, and safety training hardly reaches beyond them (Qi et al. 2024,
# arXiv 2406.05946).
FIRST = 6


def opening_rows(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], answers: Sequence[str]) -> list[Encoded]:
    """Each prompt with the first tokens of its answer, which are what is compared."""
    rows = []
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        said = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
        encoded = encode(tokenizer, Conversation(row=row, messages=said))
        start, end = encoded.completion[0], min(encoded.completion[1], encoded.completion[0] + FIRST)
        rows.append(
            replace(encoded, input_ids=encoded.input_ids[:end], completion=(start, end), learnt=((start, end),))
        )
    return rows


@torch.inference_mode()
def kl_from(labels: SoftLabels, model: Any, rows: Sequence[Encoded], *, pad_id: int) -> float:
    """Mean KL over all learnt tokens of the rows, in nats; `labels` are the teacher's, of these rows in this order."""
    total = 0.0
    for batch in length_batches([len(row) for row in rows], tokens_at_once(model.device)):
        inputs = completion_batch([rows[i] for i in batch], pad_id, model.device)
        logits = logits_of(model, inputs.pick(hidden_states(model, inputs.input_ids, inputs.attention_mask)))
        known = [labels.of_row(i) for i in batch]
        likely, which = (torch.cat([pair[side] for pair in known]).to(model.device) for side in (0, 1))
        total += sparse_kl_sum(logits, likely, which, temperature=labels.temperature).item()
    return total / sum(row.learnt_tokens for row in rows)


def features_of(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], *, feature: RefusalFeature
) -> torch.Tensor:
    """The activations that the feature reads, of each prompt, [prompts, hidden]."""
    rows = encode_prompts(tokenizer, [from_prompt(prompt, i) for i, prompt in enumerate(prompts)])
    return collect_features(model, tokenizer, rows, layers=[feature.layer], positions=[feature.position])[:, 0, 0]


def moved(teacher: torch.Tensor, student: torch.Tensor, harmful: int, *, feature: RefusalFeature) -> dict[str, float]:
    """How the student's refusal feature differs from the teacher's.

    Args:
        teacher, student: features of the same prompts, the harmful ones first, each [prompts, hidden].
        feature: the teacher's.

    Returns:
        `turned`, 1 - cosine of the two models' directions (harmful minus harmless means), in [0, 2]; and `sunk`, how
        much lower harmful prompts score on the teacher's feature, in [-2, 2].
    """
    before, after = (f[:harmful].mean(0) - f[harmful:].mean(0) for f in (teacher, student))
    sunk = feature.score(teacher[:harmful]) - feature.score(student[:harmful])
    return {"turned": 1 - F.cosine_similarity(before, after, dim=0).item(), "sunk": sunk.mean().item()}
