"""Answers to prompts, greedy unless asked otherwise, in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers

from reft.conversations.batching import length_batches, pad
from reft.conversations.schema import Conversation, from_prompt
from reft.conversations.tokenization import Encoded, encode_prompts, stop_tokens
from reft.models.hardware import TOKENS_PER_BATCH
from reft.models.memory import return_freed_memory
from reft.runtime.progress import Report


def generate(
    model: Any,
    tokenizer: transformers.PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    *,
    max_new_tokens: int,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    report: Report | None = None,
) -> list[str]:
    """The model's greedy answer to each conversation's prompt, in the order given.

    Args:
        max_new_tokens: length limit of an answer, in tokens.
        tokens_per_batch: prompt and answer tokens that may be in flight together.
        report: called with (answers so far, answers in all) after each batch.
    """
    encoded = encode_prompts(tokenizer, conversations)
    return answers_to(
        model, tokenizer, encoded, max_new_tokens=max_new_tokens, tokens_per_batch=tokens_per_batch, report=report
    )


@torch.inference_mode()
def answers_to(
    model: Any,
    tokenizer: transformers.PreTrainedTokenizerBase,
    encoded: Sequence[Encoded],
    *,
    max_new_tokens: int,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    report: Report | None = None,
    stopped: Callable[[], bool] | None = None,
    temperature: float | None = None,
) -> list[str]:
    """`generate` for prompts that are tokens already.

    Args:
        temperature: draw each token at this one, the same answers each time; None: the likeliest token.
        stopped: asked after every token; once it says so, no more is generated, and answers are as far as they came.
    """
    criteria = transformers.StoppingCriteriaList([Stopped(stopped)] if stopped else [])
    answers = [""] * len(encoded)
    stops, done = stop_ids(model, tokenizer), 0
    how = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    for batch in length_batches([len(row) + max_new_tokens for row in encoded], tokens_per_batch):
        if stopped and stopped():
            break
        inputs = pad([encoded[i] for i in batch], tokenizer.pad_token_id, model.device, left=True)
        with _seeded(model.device):
            output = model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                eos_token_id=stops,
                pad_token_id=tokenizer.pad_token_id,
                stopping_criteria=criteria,
                **(how or {"do_sample": False}),
            )
        new = output[:, inputs["input_ids"].shape[1] :]
        for index, text in zip(batch, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            answers[index] = text.strip()
        return_freed_memory()
        done += len(batch)
        if report:
            report(done, len(encoded))
    return answers


@contextmanager
def _seeded(device: torch.device) -> Generator[None]:
    """What is drawn in the block does not depend on what was drawn before, nor change what is drawn after."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


class Stopped:
    """Ends all rows of a batch once somebody says so; a `transformers.StoppingCriteria` by what it does."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> Any:  # noqa: ARG002 (transformers')
        return torch.full(input_ids.shape[:1], self._stopped(), dtype=torch.bool, device=input_ids.device)


def generate_answers(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
) -> list[str]:
    """`generate` for plain prompts."""
    return generate(model, tokenizer, [from_prompt(p, i) for i, p in enumerate(prompts)], max_new_tokens=max_new_tokens)


def stop_ids(model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerBase) -> list[int]:
    """Every token at which the model stops."""
    return stop_tokens(tokenizer, getattr(model.generation_config, "eos_token_id", None))
