"""What somebody would use instead of the refusal feature and can run without another model; each scores prompts."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reft.conversations.batching import length_batches, pad
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode_prompts
from reft.models.head import hidden_states
from reft.models.logits import logits_of
from reft.refusal_feature.extraction import LabelledPrompts

Rival = Callable[[Sequence[Conversation]], list[float]]
KEYWORDS = re.compile(
    r"\b(kill|murder|bomb|weapon|explosive|poison|drugs?|steal|rob|hack|malware|virus|fraud|scam|launder|forge|"
    r"counterfeit|smuggl|terroris|suicide|rape|abuse|racis|hate|blackmail|stalk|illegal|crime)\w*",
    re.IGNORECASE,
)


def rivals(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, fitting: LabelledPrompts) -> dict[str, Rival]:
    """All of them, fitted on the rows that the teacher was trained on, with the untrained model where one is needed."""
    truth = [1] * len(fitting.harmful) + [0] * len(fitting.harmless)
    rows = [*fitting.harmful, *fitting.harmless]
    words = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), _logistic())
    words.fit([row.instruction for row in rows], truth)
    embedded = _embeddings(model, tokenizer, rows)
    regression = _logistic().fit(embedded, truth)
    unit = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    towards = unit[: len(fitting.harmful)].mean(0) - unit[len(fitting.harmful) :].mean(0)

    def similarity(prompts: Sequence[Conversation]) -> list[float]:
        found = _embeddings(model, tokenizer, prompts)
        return (found / np.linalg.norm(found, axis=1, keepdims=True) @ towards).tolist()

    return {
        "TF-IDF + logistic regression": lambda p: words.decision_function([row.instruction for row in p]).tolist(),
        "embedding + logistic regression": lambda p: regression.decision_function(
            _embeddings(model, tokenizer, p)
        ).tolist(),
        "similarity to harmful minus harmless rows (LARF-like)": similarity,
        "keyword list": lambda p: [float(len(KEYWORDS.findall(row.instruction))) for row in p],
        "perplexity": lambda p: _surprise(model, tokenizer, p),
    }


def _logistic() -> LogisticRegression:
    return LogisticRegression(max_iter=2000, class_weight="balanced")


@torch.inference_mode()
def _embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Conversation]) -> np.ndarray:
    """The mean of the last hidden states over each prompt, [rows, hidden]."""
    encoded = encode_prompts(tokenizer, rows)
    found = np.zeros((len(rows), model.config.hidden_size), dtype=np.float32)
    for batch in length_batches([len(row) for row in encoded], 4096):
        inputs = pad([encoded[i] for i in batch], tokenizer.pad_token_id, model.device)
        mask = inputs["attention_mask"][:, :, None]
        found[batch] = ((hidden_states(model, **inputs).float() * mask).sum(1) / mask.sum(1)).cpu().numpy()
    return found


@torch.inference_mode()
def _surprise(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Conversation]) -> list[float]:
    """Mean negative log-likelihood of each prompt's tokens; its exponential is the perplexity."""
    encoded, found = encode_prompts(tokenizer, rows), [0.0] * len(rows)
    for batch in length_batches([len(row) for row in encoded], 1024):
        inputs = pad([encoded[i] for i in batch], tokenizer.pad_token_id, model.device)
        logits = logits_of(model, hidden_states(model, **inputs))[:, :-1]
        targets, mask = inputs["input_ids"][:, 1:], inputs["attention_mask"][:, 1:]
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none") * mask
        for index, loss in zip(batch, (losses.sum(1) / mask.sum(1)).tolist(), strict=True):
            found[index] = loss
    return found
