"""What the models answer: a few prompts of every set, to look at."""

from typing import Any

from reft.report.html import RunResult
from reft.report.summary import LABELS

PLACE = 4
BEGINNING = 160  # characters of a prompt or an answer


def values(result: RunResult) -> dict[str, Any]:
    """(model, set, prompt, answer), each text shortened."""
    return {
        "answers": [
            (LABELS.get(name, name), group, prompt[:BEGINNING], answer[:BEGINNING])
            for name, scores in result.evaluation.models.items()
            for group, prompt, answer in scores.answers
        ]
    }
