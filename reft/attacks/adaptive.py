"""An attacker who knows the refusal feature: a greedy search for harmless clauses that lower a request's score."""

import random
from collections.abc import Sequence

from reft.config import FilteringSettings
from reft.conversations.schema import Conversation
from reft.conversations.wrapping import joined, with_question
from reft.filtering.scorers import Scorer
from reft.runtime.progress import Report

JOINS = (" ", ", and also ", " as well as this: ")


def adaptive_suffixes(
    scorer: Scorer,
    rows: Sequence[Conversation],
    harmless: Sequence[str],
    *,
    settings: FilteringSettings,
    rounds: int = 4,
    candidates: int = 12,
    in_front: bool = False,
    seed: int = 0,
    report: Report | None = None,
) -> list[Conversation]:
    """The rows, each request with the harmless sentences behind it (and before it) that the search found.

    In each round every row tries `candidates` harmless sentences after what it has and keeps the one with the
    lowest deciding score, if it is lower. The attacker sees exactly what the filter sees, and joins them into one
    sentence as readily as into several.

    Args:
        rows: each of one question and its answer, which stays and is scored with it.
        in_front: every other sentence is tried before what it has.
        report: called with (rounds so far, rounds in all).
    """
    rng = random.Random(seed)
    best = list(rows)
    lowest = _scores(scorer, best, settings)
    for done in range(rounds):
        suffixes = [rng.sample(list(harmless), candidates) for _ in best]
        tried = [
            with_question(
                row, joined(row.instruction, rng.choice(JOINS), clause, in_front=in_front and number % 2 == 1)
            )
            for row, some in zip(best, suffixes, strict=True)
            for number, clause in enumerate(some)
        ]
        scores = _scores(scorer, tried, settings)
        for index in range(len(best)):
            found = min(range(index * candidates, (index + 1) * candidates), key=scores.__getitem__)
            if scores[found] < lowest[index]:
                best[index], lowest[index] = tried[found], scores[found]
        if report:
            report(done + 1, rounds)
    return best


def _scores(scorer: Scorer, rows: Sequence[Conversation], settings: FilteringSettings) -> list[float]:
    return [row.deciding.score for row in scorer.score(rows, settings)]
