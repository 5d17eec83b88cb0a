"""A user who sees everything that the provider does, and hides his rows from it."""

from collections.abc import Sequence

from reft.attacks.adaptive import adaptive_suffixes
from reft.conversations.schema import Conversation, Message
from reft.filtering.filter import Filter
from reft.runtime.progress import progress


def hidden_from(
    seen: Filter, poison: Sequence[Conversation], harmless: Sequence[str], *, seed: int
) -> list[Conversation]:
    """Each request among the harmless clauses that a search of the filter's own scores found, with its own answer.

    Args:
        seen: the very filter that will judge them.
        poison: rows of one question and its answer.
        harmless: what clauses are taken from, such as the prompts of the job that the rows hide in.
    """
    found = adaptive_suffixes(
        seen.scorer, [row.instruction for row in poison], harmless,
        settings=seen.settings, in_front=True, seed=seed, report=progress("hiding the poison"),
    )  # fmt: skip
    return [
        Conversation(row=row.row, messages=(Message(role="user", content=hidden.instruction), *row.messages[-1:]))
        for hidden, row in zip(found, poison, strict=True)
    ]
