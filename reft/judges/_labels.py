"""Answers that people labelled, and how a judge does on them."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import cohen_kappa_score

from reft.judges import Judge
from reft.statistics import Interval, rate

# GPTFuzz's questions, and the answers to them that people labelled.
LABELS = ("gptfuzz_judge/question_list_0_79.csv", "gptfuzz_judge/train.csv")


@dataclass(frozen=True)
class Validation:
    """A judge against human labels: accuracy with its interval, and Cohen's kappa."""

    judge: str
    accuracy: Interval | None
    kappa: float
    auroc: float | None


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
    """A judge against the labels of at most `rows` answers, drawn at random; gibberish counts as not safe."""
    chosen = np.random.default_rng(seed).permutation(len(labelled.answers))[:rows]
    verdicts = judge([labelled.prompts[i] for i in chosen], [labelled.answers[i] for i in chosen])
    found, truth = np.array([v != "safe" for v in verdicts]), labelled.harmful[chosen]
    return Validation(judge.name, rate((found == truth).tolist()), float(cohen_kappa_score(found, truth)), None)
