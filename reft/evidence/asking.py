"""What every trained model is asked, and its answers, which are kept so that any judge can read them later."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from reft.config import Settings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation
from reft.evaluation.generation import generate
from reft.progress import Report


@dataclass(frozen=True)
class Questions:
    """What every model is asked, by group."""

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


def ask(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    asked: Questions,
    max_new_tokens: int,
    report: Report | None = None,
) -> dict[str, list[str]]:
    """The model's answers by group of questions, each in the order of its questions."""
    groups = vars(asked)
    rows = [row for group in groups.values() for row in group]
    answers = iter(generate(model, tokenizer, rows, max_new_tokens, report=report))
    return {name: [next(answers) for _ in group] for name, group in groups.items()}
