"""What the models answer: a few prompts of every set, to look at."""

from typing import Any

from reft.report.html import RunResult
from reft.report.summary import LABELS

PLACE = 3
BEGINNING = 400  # characters of a prompt or an answer
FOLDED = "harmful"


def values(result: RunResult) -> dict[str, Any]:
    """By set: whether it is shown only on a click, and (prompt, [(model, answer)]), each text shortened."""
    sets: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for name in LABELS:
        scores = result.evaluation.models.get(name)
        for group, prompt, answer in scores.answers if scores else ():
            sets.setdefault(group, {}).setdefault(prompt, []).append((LABELS[name], answer[:BEGINNING]))
    return {
        "sets": [
            (group, group == FOLDED, [(prompt[:BEGINNING], answers) for prompt, answers in asked.items()])
            for group, asked in sets.items()
        ]
    }
