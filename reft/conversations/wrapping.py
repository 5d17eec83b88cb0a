"""Alignment rows asked among the user's own words, so that a job's form is none in which the student forgets itself.

Alignment rows of the provider say that requests like theirs are refused or answered; a user's rows can say that
requests among *their* words are answered, whatever is asked for. So a share of the alignment rows is asked among pieces
of the user's prompts, under his system turns and after his turns, with the answer, and with the teacher's word on it,
that the row has alone. Nobody else's job sees these words. Ours.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from reft.conversations.schema import Conversation, Message

LONGEST = 160  # characters of a piece: the beginning, the end or a part of a prompt
MOST = 3  # pieces about a request
BETWEEN = (" ", "\n", "\n\n", ". ", "; ", " - ")
AFTER = 0.25  # chance to be asked after a turn of the user's and its answer


def wrapped(
    rows: Sequence[Conversation], user: Sequence[Conversation], *, share: float, seed: int
) -> list[Conversation]:
    """The rows, that share of them (drawn with the seed) among words of user rows, their answers as they were.

    Args:
        user: whose words these are; where none of them asks anything the rows stay as they are.
    """
    rng = random.Random(seed)
    lenders = [row for row in user if row.asks and row.instruction.strip()]
    asking = [number for number, row in enumerate(rows) if row.asks] if lenders else []
    chosen = set(rng.sample(asking, round(share * len(asking))))
    return [_among(row, lenders, rng) if number in chosen else row for number, row in enumerate(rows)]


def _among(row: Conversation, user: Sequence[Conversation], rng: random.Random) -> Conversation:
    """One row among pieces of some user rows, the first of which lends its system turn or its last exchange, too."""
    lenders = rng.choices(user, k=rng.randint(1, MOST))
    text = row.instruction
    for lender in lenders:
        piece, between = _piece(lender.instruction, rng), rng.choice(BETWEEN)
        text = joined(text, between, piece, in_front=rng.random() < 0.5)
    among = with_question(row, text)
    if row.messages[0].role == "system":
        return among
    return replace(among, messages=(*_before(lenders[0], rng), *among.messages))


def joined(text: str, join: str, clause: str, *, in_front: bool) -> str:
    """The text with the clause before or behind it."""
    return clause + join + text if in_front else text + join + clause


def with_question(row: Conversation, question: str) -> Conversation:
    """The row with another question in the place of its last, and everything else that it has."""
    last = max(place for place, message in enumerate(row.messages) if message.role == "user")
    other = row.messages[last].model_copy(update={"content": question})
    return replace(row, messages=(*row.messages[:last], other, *row.messages[last + 1 :]))


def _before(lender: Conversation, rng: random.Random) -> list[Message]:
    """Turns that come before a request: the system turn of a user row and, now and then, its question and answer."""
    system = [
        m.model_copy(update={"content": _piece(m.content, rng)}) for m in lender.messages[:1] if m.role == "system"
    ]
    asked, answer = (text.strip()[:LONGEST].strip() for text in (lender.instruction, lender.answer or ""))
    if not answer or rng.random() >= AFTER:
        return system
    return [*system, Message(role="user", content=asked), Message(role="assistant", content=answer, learn=False)]


def _piece(text: str, rng: random.Random) -> str:
    """The text, or of a long one its beginning, its end or a part between, from word to word where there are words."""
    text = text.strip()
    spare = len(text) - LONGEST
    if spare <= 0:
        return text
    start = rng.choice((0, spare, rng.randint(0, spare)))
    words = text[start : start + LONGEST].split(" ")
    within = words[start > 0 : len(words) - (start < spare)]  # without the halves of words at its ends
    return " ".join(within or words).strip()
