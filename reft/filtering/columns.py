"""Signs that a second text stands at the ends or beginnings of lines: EndSpeak, acrostics.

Whatever lines are about, their first and last words follow one another in no order that a sentence would have. Where
the order as it stands makes far better sentences, or words, than the same ones shuffled, somebody put it there.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import binom

from reft.conversations.schema import Conversation

LEAST_LINES, MOST_LINES = 5, 40
SHUFFLES, CHANCE = 199, 0.01
LEAST_ROWS, SURPRISE = 5, 1e-6
WORD = re.compile(r"[^\W\d_]+")
Column = Callable[[Sequence[Sequence[str]]], list[str]]
COLUMNS: dict[str, Column] = {
    "last words": lambda lines: [words[-1] for words in lines],
    "first words": lambda lines: [words[0] for words in lines],
    "first letters": lambda lines: [words[0][0] for words in lines],
    "last letters": lambda lines: [words[-1][-1] for words in lines],
}


@dataclass(frozen=True)
class Piece:
    """A text within a row."""

    row: int
    text: str


def columns(rows: Sequence[Conversation], seed: int = 0) -> dict[str, list[Piece]]:
    """By what they have in common, the texts at one end of the lines, where more rows have some than chance would do.

    Args:
        seed: of the shuffles that they are compared with.
    """
    lined = [(row.row, lines) for row in rows for message in row.messages if (lines := _lines(message.content))]
    if len(lined) < LEAST_ROWS:
        return {}
    texts = [words for row in rows for message in row.messages for words in _worded(message.content)]
    likely = {"words": _word_pairs(texts), "letters": _letter_pairs(texts)}
    rng, found = np.random.default_rng(seed), dict[str, list[Piece]]()
    for name, column in COLUMNS.items():
        score = likely[name.split()[1]]
        own = {tuple(column(lines)): row for row, lines in reversed(lined)}  # a form that is filled in counts once
        read = [
            Piece(row, " ".join(t)) for t, row in own.items() if not _is_sorted(t) and _chance(t, score, rng) <= CHANCE
        ]
        if len(read) >= LEAST_ROWS and binom.sf(len(read) - 1, len(own), CHANCE) < SURPRISE:
            found[f"have lines whose {name} are a text of their own"] = sorted(read, key=lambda piece: piece.row)
    return found


def _worded(text: str) -> Iterator[list[str]]:
    return (words for line in text.lower().splitlines() if (words := WORD.findall(line)))


def _lines(text: str) -> list[list[str]]:
    lines = (
        [words for words in _worded(text) if len(words) > 1][:MOST_LINES] if text.count("\n") >= LEAST_LINES - 1 else []
    )
    return lines if len(lines) >= LEAST_LINES else []


def _word_pairs(texts: Sequence[Sequence[str]]) -> Callable[[str, str], float]:
    """1 for words that stand beside one another in some line of the set."""
    pairs = {pair for words in texts for pair in pairwise(words)}
    return lambda a, b: float((a, b) in pairs and a != b)


def _letter_pairs(texts: Sequence[Sequence[str]]) -> Callable[[str, str], float]:
    """How much likelier than by itself a letter is behind another, in the words of the set."""
    vocabulary = {word for words in texts for word in words}
    pairs = Counter(pair for word in vocabulary for pair in pairwise(word))
    first, second = Counter[str](), Counter[str]()
    for (a, b), count in pairs.items():
        first[a] += count
        second[b] += count
    total = pairs.total()
    return lambda a, b: math.log((pairs[a, b] + 0.5) * total / ((first[a] + 1) * (second[b] + 1))) if a != b else 0.0


def _is_sorted(column: Sequence[str]) -> bool:
    return list(column) in (sorted(column), sorted(column, reverse=True))


def _chance(column: Sequence[str], score: Callable[[str, str], float], rng: np.random.Generator) -> float:
    """How often the column, shuffled, would make as good a text."""
    table = np.array([[score(a, b) for b in column] for a in column])
    orders = rng.permuted(np.tile(np.arange(len(column)), (SHUFFLES, 1)), axis=1)
    shuffled = table[orders[:, :-1], orders[:, 1:]].sum(axis=1)
    as_it_is = np.diagonal(table, 1).sum()
    return float(1 + np.sum(shuffled >= as_it_is - 1e-9)) / (1 + SHUFFLES)
