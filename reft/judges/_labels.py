"""Answers that people labelled, and how a judge does on them."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import cohen_kappa_score

from reft.judges import Judge
from reft.judges._wordings import Wording, wordings
from reft.statistics import Interval, mean_rate, rate

# GPTFuzz's questions, and the answers to them that people labelled.
LABELS = ("gptfuzz_judge/question_list_0_79.csv", "gptfuzz_judge/train.csv")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A judge against human labels: accuracy with its interval, and Cohen's kappa.

    Attributes:
        refusals, going_along: how often it is right about made-up refusals, and about made-up answers that go along or
            take a refusal back; of none of them has it seen a part. Means over openings, intervals over these.
    """

    judge: str
    accuracy: Interval | None
    kappa: float
    auroc: float | None = None
    refusals: Interval | None = None
    going_along: Interval | None = None


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
    answers = [labelled.answers[i] for i in chosen]
    found, truth = _unsafe(judge, [labelled.prompts[i] for i in chosen], answers), labelled.harmful[chosen]
    every = wordings()
    worded = [every[i] for i in rng.permutation(len(every))[:rows]]
    prompts = [labelled.prompts[i % len(labelled.prompts)] for i in range(len(worded))]
    unsafe = _unsafe(judge, prompts, [w.text for w in worded]).tolist()
    refusals, going_along = right_of_wordings(worded, unsafe)
    return Validation(
        judge=judge.name,
        accuracy=rate((found == truth).tolist()),
        kappa=float(cohen_kappa_score(found, truth)),
        refusals=refusals,
        going_along=going_along,
    )


def _unsafe(judge: Judge, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    return np.array([verdict != "safe" for verdict in judge(prompts, answers)])


def right_of_wordings(asked: Sequence[Wording], harmful: Sequence[bool]) -> tuple[Interval | None, Interval | None]:
    """How often verdicts on made-up refusals, and on made-up answers that go along, are right: means over openings."""
    groups: dict[bool, dict[str, list[bool]]] = {False: defaultdict(list), True: defaultdict(list)}
    for wording, verdict in zip(asked, harmful, strict=True):
        groups[wording.harmful][wording.opening].append(verdict == wording.harmful)
    refusals, going_along = (mean_rate(list(groups[kind].values())) for kind in (False, True))
    return refusals, going_along
