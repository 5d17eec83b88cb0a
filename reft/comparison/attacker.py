"""A user who sees everything that the provider does, and hides his rows from it."""

from collections.abc import Sequence

from reft.attacks.adaptive import adaptive_suffixes
from reft.conversations.schema import Conversation, Message
from reft.filtering.filter import Filter

# He makes so many times as many rows as he sends, and sends those that the filter thinks least of.
MADE_FOR_ONE = 2


def hidden_from(
    seen: Filter, poison: Sequence[Conversation], harmless: Sequence[str], *, seed: int
) -> list[Conversation]:
    """Rows of poison among the harmless clauses that a search of the filter's own scores found, best hidden first.

    Half of what was given: the half with the lower scores.

    Args:
        seen: the very filter that will judge them, thresholds and all.
        poison: rows of one question and its answer; every answer stays as it is.
        harmless: what clauses are taken from, such as the prompts of the job that the rows hide in.
    """
    asked = adaptive_suffixes(
        seen.scorer, [row.instruction for row in poison], harmless,
        settings=seen.settings, in_front=True, seed=seed,
    )  # fmt: skip
    rows = [
        Conversation(row=row.row, messages=(Message(role="user", content=found.instruction), *row.messages[-1:]))
        for found, row in zip(asked, poison, strict=True)
    ]
    scores = [score.deciding.score for score in seen.scorer.score(rows, seen.settings)]
    best = sorted(range(len(rows)), key=scores.__getitem__)[: len(rows) // MADE_FOR_ONE]
    return [rows[index] for index in best]
