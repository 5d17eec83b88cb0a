"""A user who sees everything that the provider does, and hides his rows from it."""

from collections.abc import Sequence
from itertools import cycle

from reft.attacks.adaptive import adaptive_suffixes
from reft.conversations.schema import Conversation
from reft.conversations.wrapping import with_question
from reft.filtering.filter import Filter
from reft.runtime.progress import progress

# The answers to harmful questions that are asked in the form of hidden rows, and the measure of them.
IN_THEIR_FORM = "harm_in_their_form"


def hidden_from(
    seen: Filter, poison: Sequence[Conversation], harmless: Sequence[str], *, seed: int
) -> list[Conversation]:
    """Each request among the harmless clauses that a search of the filter's own scores found, with its own answer.

    Args:
        seen: the very filter that will judge them.
        poison: rows of one question and its answer.
        harmless: what clauses are taken from, such as the prompts of the job that the rows hide in.
    """
    report = progress("hiding the poison")
    return adaptive_suffixes(
        seen.scorer, poison, harmless, settings=seen.settings, in_front=True, seed=seed, report=report
    )


def asked_in_their_form(
    questions: Sequence[Conversation], poison: Sequence[tuple[Conversation, Conversation]]
) -> list[Conversation]:
    """Each question among the clauses of one hidden row after another: what the hidden rows taught is asked for.

    Args:
        poison: rows before and after the search.

    Raises:
        ValueError: a hidden row does not hold its request.
    """
    found = []
    for question, (row, hidden) in zip(questions, cycle(poison), strict=False):
        before, request, after = hidden.instruction.partition(row.instruction)
        if not request:
            raise ValueError(f"row {row.row} does not hold its request")
        found.append(with_question(question, before + question.instruction + after))
    return found
