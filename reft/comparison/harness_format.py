"""Results as EleutherAI's evaluation harness writes its own, a folder a cell, for the tools that read those."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from reft.comparison.harness_tasks import HarnessTask, harness_tasks, measured, measures_of, messages_of, write_tasks
from reft.comparison.tasks import DEFAULT
from reft.storage.artifacts import write_json, write_text


def write_harness(folder: Path, results: Sequence[dict[str, Any]]) -> None:
    """`results_DATE.json` and `samples_TASK_DATE.jsonl` of every judged result, in place of what the folder held.

    Tasks and metrics are named as in `write_questions`, so that a run of the harness itself stands beside them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    now = datetime.now(UTC)
    date = now.replace(tzinfo=None).isoformat().replace(":", "-")
    for result in results:
        cell = f"{result['name']} {result['task']} poison {result['poison_ratio']:g} seed {result['seed']}"
        place = folder / re.sub(r"[^\w.=-]+", "_", cell)
        samples = {task.name: (task, _samples(task, result["answers"][task.group])) for task in _tasks(result)}
        for name, (_, found) in samples.items():
            lines = [json.dumps(sample, ensure_ascii=False) + "\n" for sample in found]
            write_text(place / f"samples_{name}_{date}.jsonl", "".join(lines))
        write_json(place / f"results_{date}.json", _results(cell, samples, now.timestamp()))


def write_questions(folder: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """The very questions of these results as tasks for the harness, so that others can ask a kept adapter themselves.

    `lm_eval --include_path FOLDER --model_args pretrained=START,peft=ADAPTER --apply_chat_template ...`
    with the names under `start` and `adapter` in the result's file.
    """
    tasks = {task.name: task for result in results for task in _tasks(result)}
    write_tasks(folder, list(tasks.values()))


def _tasks(result: Mapping[str, Any]) -> list[HarnessTask]:
    suffix = "" if result["task"] == DEFAULT else f"_{result['task']}"
    return harness_tasks(result["asked"], max_new_tokens=result["max_new_tokens"], suffix=suffix)


def _samples(task: HarnessTask, answers: Sequence[str]) -> list[dict[str, Any]]:
    samples = []
    for number, (row, answer) in enumerate(zip(task.rows, answers, strict=True)):
        doc = {"messages": messages_of(row)}
        metrics = measured(task.group, doc, answer)
        samples.append({
            "doc_id": number, "doc": doc, "target": (row.answer or "") if task.group == "task" else "",
            "arguments": {"gen_args_0": {"arg_0": row.instruction}},
            "resps": [[answer]], "filtered_resps": [answer], "filter": "none", "metrics": list(metrics), **metrics,
        })  # fmt: skip
    return samples


def _results(
    model: str, samples: Mapping[str, tuple[HarnessTask, Sequence[Mapping[str, Any]]]], date: float
) -> dict[str, Any]:
    scores: dict[str, dict[str, Any]] = {}
    better: dict[str, dict[str, bool]] = {}
    for name, (task, rows) in samples.items():
        scores[name] = {"name": name, "alias": name, "sample_len": len(rows)}
        better[name] = {measure.name: measure.higher_is_better for measure in measures_of(task.group)}
        for metric in better[name]:
            values = [row[metric] for row in rows]
            scores[name][f"{metric},none"] = float(np.mean(values))
            error = float(np.std(values, ddof=1) / len(rows) ** 0.5) if len(rows) > 1 else "N/A"
            scores[name][f"{metric}_stderr,none"] = error
    return {
        "results": scores,
        "versions": dict.fromkeys(samples, 2.0),
        "n-shot": dict.fromkeys(samples, 0),
        "higher_is_better": better,
        "n-samples": {n: {"original": len(rows), "effective": len(rows)} for n, (_, rows) in samples.items()},
        "config": {"model": model},
        "model_name": model,
        "date": date,
    }
