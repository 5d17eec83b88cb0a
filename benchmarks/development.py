"""What the benchmarks that choose defaults share: settings from the command line, the development sets."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.record import append
from reft.config import Settings, parse_settings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation
from reft.evaluation.evaluate import evaluate_model
from reft.evaluation.questions import EvaluationSets
from reft.filtering.inputs import DEFAULT_TEACHER
from reft.keys.closure import digest_of_code
from reft.models.hardware import choose_hardware
from reft.runtime.progress import progress
from reft.statistics import auroc
from reft.storage.fingerprint import of_path
from reft.teacher.artifact import Teacher

DEVELOPMENT = Path("data/development")
Separated = dict[str, dict[str, float]]  # other role, harmful source


def teacher_and_sets(description: str | None) -> tuple[Teacher, Path]:
    """The teacher that the command line names, else the last run's, and the folder of the public sets."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the public sets")
    parser.add_argument("--teacher", type=Path, default=DEFAULT_TEACHER)
    options = parser.parse_args()
    return Teacher.load(options.teacher), options.folder


def prompts_alone(rows: Iterable[Conversation]) -> list[Conversation]:
    """The rows without their answers and whatever else they carry."""
    return [replace(row, messages=row.prompt, unread=()) for row in rows]


def separated(scored: Mapping[str, Mapping[str, Sequence[float] | np.ndarray]]) -> Separated:
    """How well each harmful source's scores are told from those of look-alikes and ordinary prompts.

    AUROC, the mean over the sources of the other role.
    """
    return {
        role: {
            source: float(np.mean([auroc(found, other) for other in scored[role].values()]))
            for source, found in scored["harmful"].items()
        }
        for role in ("lookalikes", "ordinary")
    }


def overridden(assignments: list[str]) -> tuple[Settings, dict[str, Any]]:
    """The default settings with `section.key=value` applied, and those values."""
    tree: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    for assignment in assignments:
        key, found, value = assignment.partition("=")
        if not found:
            raise SystemExit(f"{assignment}: write section.key=value")
        *sections, name = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = changed[key] = yaml.safe_load(value)
    return parse_settings(tree), changed


def rates(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: Settings, *, task: list[Conversation]
) -> dict[str, Any]:
    """Harmful score, refusals and accuracy on the development sets, each with its interval."""
    sets = EvaluationSets(
        *(read_conversations(DEVELOPMENT / f"{n}.jsonl") for n in ("harmful", "lookalikes", "ordinary")), task
    )
    scores = asdict(
        evaluate_model(
            model, tokenizer, sets, max_new_tokens=settings.evaluation.max_new_tokens, report=progress("asking")
        )
    )
    del scores["answers"]
    return scores


def record(name: str, section: str, description: str | None, *, measure: Callable[[Settings], dict[str, Any]]) -> None:
    """Measure what the command line asks for, append it to the results and print it.

    Args:
        name: of the results file.
        section: the settings that the line holds in full.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="section.key=value, for what shall differ from the default")
    settings, changed = overridden(parser.parse_args().settings)
    append(name, {**described(settings, changed, section), **measure(settings)})


def described(settings: Settings, changed: dict[str, Any], section: str) -> dict[str, Any]:
    """What a line says of how its numbers came about; `section` is held in full, since defaults change."""
    return {
        "changed": changed,
        section: getattr(settings, section).model_dump(),
        "seed": settings.seed,
        "hardware": choose_hardware(settings.model.dtype).reason,
        "code": digest_of_code("reft"),
        "data": of_path("data/alignment"),
    }
