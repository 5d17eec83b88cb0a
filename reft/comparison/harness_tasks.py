"""Our questions as tasks for EleutherAI's evaluation harness, judged by the table of measures.

`lm_eval --include_path FOLDER --tasks reft --apply_chat_template ...` asks them of any model that it loads.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reft.conversations.schema import Conversation, Message
from reft.evaluation.measures import MEASURES, Measure
from reft.evaluation.questions import EvaluationSets
from reft.storage.artifacts import write_text

# The harness looks beside a task's file for the function that judges it.
JUDGING = '''"""How the harness judges answers to these questions: by the product's own measures."""

from reft.comparison.harness_tasks import measured
'''
FUNCTION = '''

def {group}(doc, results):
    """Every measure of this group."""
    return measured("{group}", doc, results[0])
'''


@dataclass(frozen=True, kw_only=True)
class HarnessTask:
    """One group of questions under a name."""

    name: str
    group: str
    rows: Sequence[Conversation]
    max_new_tokens: int


def measures_of(group: str) -> list[Measure]:
    """What is counted of the answers to a group of questions."""
    return [measure for measure in MEASURES if group in measure.groups]


def measured(group: str, doc: Mapping[str, Any], answer: str) -> dict[str, float]:
    """Every measure of one answer, 0 or 1, by its name.

    Args:
        doc: a row as the harness has it, with `messages`.
    """
    row = Conversation(row=0, messages=tuple(Message(**message) for message in doc["messages"]))
    return {measure.name: float(measure.happened(row, answer)) for measure in measures_of(group)}


def messages_of(row: Conversation) -> list[dict[str, Any]]:
    """A row's messages as a task's file holds them."""
    return [message.model_dump(include={"role", "content"}) for message in row.messages]


def harness_tasks(sets: EvaluationSets, *, max_new_tokens: int, suffix: str = "") -> list[HarnessTask]:
    """A task for every group that has questions; `suffix` tells user jobs apart."""
    return [
        HarnessTask(
            name=f"reft_{group}{suffix if group == 'task' else ''}", group=group, rows=rows,
            max_new_tokens=max_new_tokens,
        )
        for group, rows in vars(sets).items()
        if rows
    ]  # fmt: skip


def write_tasks(folder: Path, tasks: Sequence[HarnessTask]) -> None:
    """The tasks with their rows, the group `reft` of all of them, and how they are judged."""
    for task in tasks:
        rows = folder.resolve() / f"{task.name}.jsonl"
        lines = [json.dumps({"messages": messages_of(row)}, ensure_ascii=False) + "\n" for row in task.rows]
        write_text(rows, "".join(lines))
        described = yaml.safe_dump(_described(task, rows), sort_keys=False)
        write_text(folder / f"{task.name}.yaml", f"{described}process_results: !function judging.{task.group}\n")
    group = {"group": "reft", "task": [task.name for task in tasks], "metadata": {"version": 2.0}}
    write_text(folder / "reft.yaml", yaml.safe_dump(group, sort_keys=False))
    groups = dict.fromkeys(task.group for task in tasks)
    write_text(folder / "judging.py", JUDGING + "".join(FUNCTION.format(group=group) for group in groups))


def _described(task: HarnessTask, rows: Path) -> dict[str, Any]:
    return {
        "task": task.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{messages[0]['content']}}",
        "doc_to_target": "{{messages[1]['content']}}" if task.group == "task" else "",
        "generation_kwargs": {"until": [], "max_gen_toks": task.max_new_tokens, "do_sample": False},
        "metric_list": [
            {"metric": measure.name, "aggregation": "mean", "higher_is_better": measure.higher_is_better}
            for measure in measures_of(task.group)
        ],
        "metadata": {"version": 2.0},
    }
