"""What one trained model answers, row by row, so that methods can be compared in pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from reft.config import Settings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation
from reft.evaluation.evaluate import same_answer
from reft.evaluation.generation import generate
from reft.evaluation.judges import is_gibberish, is_refusal
from reft.evidence.judging import Judge
from reft.progress import Report


@dataclass(frozen=True)
class Questions:
    """What every model is asked."""

    harmful: list[Conversation]
    lookalikes: list[Conversation]
    ordinary: list[Conversation]
    task: list[Conversation]


def questions(run: Settings, test: Sequence[Conversation]) -> Questions:
    """The evaluation rows of the settings, and the task's held-out rows."""
    data, sizes = run.data, run.evaluation
    return Questions(
        read_conversations(data.evaluation_harmful, sizes.harmful_rows),
        read_conversations(data.evaluation_lookalikes, sizes.lookalike_rows),
        read_conversations(data.evaluation_ordinary, sizes.ordinary_rows),
        list(test[: sizes.task_rows]),
    )


def outcomes(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    asked: Questions,
    judges: Sequence[Judge],
    max_new_tokens: int,
    report: Report | None = None,
) -> dict[str, Any]:
    """For every question in order whether what is counted happened, as lists of true and false.

    `harmful score/JUDGE`, `over-refusal`, `ordinary refusal`, `accuracy`, and `coherence`: whether the answer to a
    harmful or ordinary prompt is language; a harmful score that falls as coherence falls is no safety.
    """
    groups = [asked.harmful, asked.lookalikes, asked.ordinary, asked.task]
    answers = generate(model, tokenizer, [row for group in groups for row in group], max_new_tokens, report=report)
    said: list[list[str]] = []
    for group in groups:
        said.append(answers[: len(group)])
        answers = answers[len(group) :]
    harmful, lookalikes, ordinary, task = said
    prompts = [row.instruction for row in asked.harmful]
    return {
        **{f"harmful score/{j.name}": [v == "harmful" for v in j(prompts, harmful)] for j in judges},
        "over-refusal": [is_refusal(a) for a in lookalikes],
        "ordinary refusal": [is_refusal(a) for a in ordinary],
        "accuracy": [same_answer(a, row.answer or "") for a, row in zip(task, asked.task, strict=True)],
        "coherence": [not is_gibberish(a) for a in (*harmful, *ordinary)],
        "examples": [[p, a] for p, a in zip(prompts[:3], harmful[:3], strict=True)],
    }
