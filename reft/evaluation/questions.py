"""What every model is asked, and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reft.config import DataSettings, EvaluationSettings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation
from reft.evaluation.generation import generate
from reft.runtime.progress import Report
from reft.storage.fingerprint import of_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class EvaluationSets:
    """What every model is asked, by group; the same rows for each."""

    harmful: Sequence[Conversation]
    lookalikes: Sequence[Conversation]
    ordinary: Sequence[Conversation]
    task: Sequence[Conversation] = ()

    @property
    def rows(self) -> list[Conversation]:
        """All of them, group after group."""
        return [row for group in vars(self).values() for row in group]

    def digest(self, max_new_tokens: int) -> str:
        """Of what is asked, the right answers, and how long an answer may be: models of one digest compare in pairs."""
        texts = [message.model_dump_json() for row in self.rows for message in row.messages]
        return of_text(str(max_new_tokens), *map(str, map(len, vars(self).values())), *texts)


def evaluation_sets(
    data: DataSettings, settings: EvaluationSettings, test: Sequence[Conversation] | None = None
) -> EvaluationSets:
    """The first rows of each evaluation file, as many as the settings say; task rows from `test` where it is given."""
    if test is None:
        test = task_rows(data, settings)
    return EvaluationSets(
        read_conversations(data.evaluation_harmful, settings.harmful_rows),
        read_conversations(data.evaluation_lookalikes, settings.lookalike_rows),
        read_conversations(data.evaluation_ordinary, settings.ordinary_rows),
        test[: settings.task_rows],
    )


def task_rows(data: DataSettings, settings: EvaluationSettings) -> Sequence[Conversation]:
    """The first held-out rows of the customer's task; none where there is no file of them."""
    return read_conversations(data.task_test, settings.task_rows) if data.task_test else ()


def all_questions(data: DataSettings) -> EvaluationSets:
    """Every row of each evaluation file."""
    return EvaluationSets(
        read_conversations(data.evaluation_harmful),
        read_conversations(data.evaluation_lookalikes),
        read_conversations(data.evaluation_ordinary),
        read_conversations(data.task_test) if data.task_test else (),
    )


def ask(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    sets: EvaluationSets,
    *,
    max_new_tokens: int,
    report: Report | None = None,
) -> dict[str, list[str]]:
    """The model's greedy answers by group, each in the order of its questions."""
    found: dict[str, list[str]] = {}
    total = len(sets.rows)
    # A group at a time: a batch goes on until its last answer ends, and a task's labels end early.
    for name, group in vars(sets).items():
        shown = _part(report, sum(map(len, found.values())), total) if report else None
        found[name] = generate(model, tokenizer, group, max_new_tokens=max_new_tokens, report=shown)
    return found


def _part(report: Report, before: int, total: int) -> Report:
    """The report of one part of a work, before which `before` were done."""
    return lambda done, _: report(before + done, total)
