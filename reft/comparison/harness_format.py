"""Results as EleutherAI's evaluation harness writes its own, a folder a cell, for the tools that read those."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from reft.comparison.tasks import DEFAULT
from reft.conversations.schema import Conversation
from reft.judges.compliance_classifier import RefusalMatcher
from reft.judges.refusal_matcher import is_gibberish
from reft.storage.artifacts import write_json, write_text

Metrics = dict[str, list[bool]]
OURS = Path("benchmarks/harness")
BETTER_HIGH = {"exact_match": True, "coherence": True, "harmful_score": False, "refused": False}


def write_harness(folder: Path, results: Sequence[dict[str, Any]]) -> None:
    """`results_DATE.json` and `samples_TASK_DATE.jsonl` of every judged result, in place of what the folder held.

    Tasks and metrics are named as in `benchmarks/harness`, so that a run of the harness itself stands beside them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    now = datetime.now(UTC)
    date = now.replace(tzinfo=None).isoformat().replace(":", "-")
    for result in results:
        cell = f"{result['name']} {result['task']} poison {result['poison_ratio']:g} seed {result['seed']}"
        place = folder / re.sub(r"[^\w.=-]+", "_", cell)
        tasks = _tasks(result)
        questions = vars(result["asked"])
        for group, (task, metrics) in tasks.items():
            samples = [
                _sample(i, row, answer, target=row.answer if group == "task" else "", metrics=metrics)
                for i, (row, answer) in enumerate(zip(questions[group], result["answers"][group], strict=True))
            ]
            lines = [json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples]
            write_text(place / f"samples_{task}_{date}.jsonl", "".join(lines))
        write_json(place / f"results_{date}.json", _results(cell, dict(tasks.values()), now.timestamp()))


def write_tasks(folder: Path, results: Sequence[dict[str, Any]]) -> None:
    """The very questions of these results as tasks for the harness, so that others can ask a kept adapter themselves.

    Each is one of `benchmarks/harness` with its rows replaced:
    `lm_eval --include_path FOLDER --model_args pretrained=START,peft=ADAPTER --apply_chat_template ...`
    with the names under `start` and `adapter` in the result's file.
    """
    for result in {result["task"]: result for result in results}.values():
        questions = vars(result["asked"])
        for group, (task, _) in _tasks(result).items():
            rows = folder.resolve() / f"{task}.jsonl"
            lines = [json.dumps({"messages": _messages(row)}, ensure_ascii=False) + "\n" for row in questions[group]]
            write_text(rows, "".join(lines))
            changed = {
                "include": str((OURS / f"reft_{group}.yaml").resolve()),
                "task": task,
                "dataset_kwargs": {"data_files": {"test": str(rows)}},
                "generation_kwargs": {"until": [], "max_gen_toks": result["max_new_tokens"], "do_sample": False},
            }
            write_text(folder / f"{task}.yaml", yaml.safe_dump(changed))


def _messages(row: Conversation) -> list[dict[str, Any]]:
    return [message.model_dump(include={"role", "content"}) for message in row.messages]


def _tasks(result: Mapping[str, Any]) -> dict[str, tuple[str, Metrics]]:
    """Our groups of questions: the harness's task, and its metrics row by row."""
    rows = result["rows"]
    language = {g: [not is_gibberish(a) for a in result["answers"][g]] for g in ("harmful", "lookalikes", "ordinary")}
    harm = rows[f"harmful score/{RefusalMatcher.name}"]
    task = "reft_task" if result["task"] == DEFAULT else f"reft_task_{result['task']}"
    return {
        "task": (task, {"exact_match": rows["accuracy"]}),
        "harmful": ("reft_harmful", {"harmful_score": harm, "coherence": language["harmful"]}),
        "lookalikes": ("reft_lookalikes", {"refused": rows["over-refusal"], "coherence": language["lookalikes"]}),
        "ordinary": ("reft_ordinary", {"refused": rows["ordinary refusal"], "coherence": language["ordinary"]}),
    }


def _sample(number: int, row: Conversation, answer: str, *, target: str | None, metrics: Metrics) -> dict[str, Any]:
    return {
        "doc_id": number, "doc": {"messages": _messages(row)}, "target": target or "",
        "arguments": {"gen_args_0": {"arg_0": row.instruction}},
        "resps": [[answer]], "filtered_resps": [answer], "filter": "none", "metrics": list(metrics),
        **{name: float(found[number]) for name, found in metrics.items()},
    }  # fmt: skip


def _results(model: str, tasks: Mapping[str, Metrics], date: float) -> dict[str, Any]:
    scores: dict[str, dict[str, Any]] = {}
    for task, metrics in tasks.items():
        rows = len(next(iter(metrics.values())))
        scores[task] = {"name": task, "alias": task, "sample_len": rows}
        for name, found in metrics.items():
            scores[task][f"{name},none"] = float(np.mean(found))
            scores[task][f"{name}_stderr,none"] = float(np.std(found, ddof=1) / rows**0.5) if rows > 1 else "N/A"
    return {
        "results": scores,
        "versions": dict.fromkeys(tasks, 1.0),
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {task: {name: BETTER_HIGH[name] for name in metrics} for task, metrics in tasks.items()},
        "n-samples": {
            t: {"original": scores[t]["sample_len"], "effective": scores[t]["sample_len"]} for t in tasks
        },
        "config": {"model": model},
        "model_name": model,
        "date": date,
    }  # fmt: skip
