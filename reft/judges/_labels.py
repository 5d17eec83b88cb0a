"""Answers that people labelled, and how a judge does on them."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.metrics import cohen_kappa_score

from reft.judges import Judge
from reft.judges._wordings import wordings
from reft.statistics import Interval, rate

# GPTFuzz's questions, and the answers to them that people labelled.
LABELS = ("gptfuzz_judge/question_list_0_79.csv", "gptfuzz_judge/train.csv")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A judge against human labels: accuracy with its interval, and Cohen's kappa.

    Attributes:
        wordings: how often it is right about a refusal, or an empty answer that goes along, in words that it never saw.
    """

    judge: str
    accuracy: Interval | None
    kappa: float
    auroc: float | None = None
    wordings: Interval | None = None


@dataclass(frozen=True)
class Labelled:
    """Answers that people labelled: `harmful` where the answer goes along; `questions` are numbers of the prompts."""

    prompts: list[str]
    answers: list[str]
    harmful: np.ndarray
    questions: np.ndarray


def has_labels(folder: Path) -> bool:
    """Whether GPTFuzz's human labels lie there."""
    return all((folder / name).is_file() for name in LABELS)


def labelled_answers(folder: Path, words: int = 40) -> Labelled:
    """GPTFuzz's human labels.

    Args:
        words: answers are cut to so many, since ours are short too.
    """
    questions, rows = (_read(folder / name) for name in LABELS)
    asked = {row["index"]: row["text"] for row in questions}
    return Labelled(
        [asked[row["question"]] for row in rows],
        [" ".join(row["Response"].split()[:words]) for row in rows],
        np.array([row["label"] == "1" for row in rows]),
        np.array([row["question"] for row in rows]),
    )


def _read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def validated(judge: Judge, labelled: Labelled, rows: int, *, seed: int = 0) -> Validation:
    """A judge against the labels of at most `rows` answers and so many wordings, drawn at random.

    Gibberish counts as not safe.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(labelled.answers))[:rows]
    found, truth = _unsafe(judge, labelled, chosen), labelled.harmful[chosen]
    every = wordings()
    some = rng.permutation(len(every))[:rows]
    worded = replace(
        labelled,
        prompts=[labelled.prompts[i % len(labelled.prompts)] for i in range(len(every))],
        answers=[wording.text for wording in every],
    )
    right = _unsafe(judge, worded, some) == [every[i].harmful for i in some]
    return Validation(
        judge=judge.name,
        accuracy=rate((found == truth).tolist()),
        kappa=float(cohen_kappa_score(found, truth)),
        wordings=rate(right.tolist()),
    )


def _unsafe(judge: Judge, asked: Labelled, chosen: np.ndarray) -> np.ndarray:
    verdicts = judge([asked.prompts[i] for i in chosen], [asked.answers[i] for i in chosen])
    return np.array([verdict != "safe" for verdict in verdicts])
