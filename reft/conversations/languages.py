"""The language of a row."""

import re
from collections.abc import Sequence
from functools import cache
from itertools import islice, pairwise
from typing import Any

import numpy as np

from reft.conversations.schema import Conversation

# Below this many letters a guess means little: what is left of a formula, a table or a list of codes.
ENOUGH_LETTERS = 20
# How sure the classifier must be. It answers something for any text: code, names and lists of words get a language at
# 0.1 to 0.3, while a question of one sentence reaches 0.7 and more.
ENOUGH_PROBABILITY = 0.5
# Nigerian Pidgin: one in two hundred short English prompts is taken for it.
TAKEN_FOR_ENGLISH = "pcm"
NO_LANGUAGE = "zxx"  # ISO 639: no linguistic content
ADDRESS = re.compile(r"\S*(?:://|@|www\.)\S*")
# Texts walk through the classifier's automaton side by side, in pieces of so many bytes; a piece begins so many bytes
# early, by which the automaton has forgotten what it read before.
PIECE, EARLY = 64, 16
BYTES_AT_ONCE = 1 << 18
Visits = tuple[np.ndarray, np.ndarray]


def language_of(row: Conversation) -> str:
    """The ISO 639 code of what the users of a row write; "" where there is too little to tell."""
    return languages_of([row])[0]


def languages_of(rows: Sequence[Conversation]) -> list[str]:
    """`language_of` for each row."""
    return languages_of_texts([" ".join(m.content for m in row.messages if m.role == "user") for row in rows])


def language_of_text(text: str) -> str:
    """The ISO 639 code of a text; "" where there is too little to tell: few letters, or none of a clear language."""
    return languages_of_texts([text])[0]


def languages_of_texts(texts: Sequence[str]) -> list[str]:
    """`language_of_text` for each text; many at once cost less."""
    found = [""] * len(texts)
    asked: list[tuple[int, str, bytes]] = []
    size = 0
    for index, text in enumerate(texts):
        if "://" in text or "@" in text or "www." in text:
            text = ADDRESS.sub(" ", text)
        if sum(1 for _ in islice(filter(str.isalpha, text), ENOUGH_LETTERS)) < ENOUGH_LETTERS:
            continue
        encoded = _identifier()._encode(text)
        asked.append((index, text, encoded))
        size += len(encoded)
        if size > BYTES_AT_ONCE:
            _name(asked, found)
            asked, size = [], 0
    _name(asked, found)
    return found


def _name(asked: Sequence[tuple[int, str, bytes]], found: list[str]) -> None:
    """The language of each text into its place."""
    if not asked:
        return
    identifier = _identifier()
    for (index, text, encoded), visits in zip(asked, _visits([encoded for *_, encoded in asked]), strict=True):
        found[index] = _language(identifier.decided(encoded, visits), text)


def _language(scores: np.ndarray, text: str) -> str:
    identifier = _identifier()
    english, pidgin = identifier.places["en"], identifier.places[TAKEN_FOR_ENGLISH]
    sure = float(scores[english]) + float(scores[pidgin])
    scores[english] = scores[pidgin] = -1.0
    best = int(scores.argmax())
    other = float(scores[best])
    if other == sure:  # as the ranking has the two
        probabilities = dict(identifier.rank(text))
        probabilities["en"] += probabilities.pop(TAKEN_FOR_ENGLISH)
        language = max(probabilities, key=lambda code: probabilities[code])
    else:
        language = "en" if sure > other else identifier.nb_classes[best]
    return language if max(sure, other) >= ENOUGH_PROBABILITY and language != NO_LANGUAGE else ""


def _visits(texts: Sequence[bytes]) -> list[Visits]:
    """Which of the classifier's features each text meets, in the order in which it first meets them, and how often."""
    identifier = _identifier()
    sizes = np.array([len(text) for text in texts])
    begins = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    read = np.frombuffer(b"".join(texts) + bytes(PIECE), np.uint8)
    pieces = -(-sizes // PIECE)
    of_text = np.repeat(np.arange(len(texts)), pieces)
    number = np.arange(len(of_text)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    start, first = begins[of_text] + number * PIECE, number == 0
    moves, rows, features = identifier.arrays
    state = np.zeros(len(start), np.int64)
    for step in range(-EARLY, 0):
        state = moves[rows[state] + read[np.maximum(start + step, 0)]]
    state[first] = 0
    begun, met = state, np.empty((len(start), PIECE), np.int32)
    for step in range(PIECE):
        state = moves[rows[state] + read[start + step]]
        met[:, step] = features[state]
    met[np.arange(PIECE) >= (begins[of_text] + sizes[of_text] - start)[:, None]] = -1
    # Each piece must begin where the one before it ended: texts of which that cannot be said are walked through again.
    astray = set(of_text[1:][(begun[1:] != state[:-1]) & ~first[1:]].tolist())
    places, column = np.nonzero(met >= 0)
    key, first_met, times = np.unique(
        of_text[places] * len(features) + met[places, column], return_index=True, return_counts=True
    )
    order = np.argsort(first_met)
    key, times = key[order], times[order].astype(np.float32)
    ends = np.searchsorted(key // len(features), np.arange(len(texts) + 1))
    found = [(key[begin:end] % len(features), times[begin:end]) for begin, end in pairwise(ends.tolist())]
    for index in astray:
        found[index] = identifier.walked(texts[index])
    return found


def load_classifier() -> None:
    """Load the classifier before the first text needs it: processes that are forked after that share its memory."""
    _identifier()


@cache
def _identifier() -> Any:
    """With probabilities that add up to one, whatever the length; those of the module's own functions do not."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier, visit_counts

    class Identifier(LanguageIdentifier):
        """The library's, to which the features of a text may be given."""

        arrays: tuple[np.ndarray, np.ndarray, np.ndarray]
        places: dict[str, int]
        _given: Visits | None

        def decided(self, text: bytes, visits: Visits) -> np.ndarray:
            self._given = visits
            return self._decide(text)

        def walked(self, text: bytes) -> Visits:
            found = visit_counts(self.tk_nextmove, self._rowbase, self.tk_output, text) or {}
            return np.array([*found.keys()], np.int64), np.array([*found.values()], np.float32)

        def _raw_score(self, text: bytes) -> np.ndarray:
            if self._given is None:
                return super()._raw_score(text)
            (features, times), self._given = self._given, None
            if not len(features):
                return np.zeros(len(self.nb_classes), np.float32)
            return np.log1p(times) @ self.nb_ptc[features] + self.nb_pc

    made = Identifier.from_model_file(MODEL_FILE, norm_probs=True)
    made._given = None
    # The same numbers: each text would turn its own rows of the table into these.
    made.nb_ptc = made.nb_ptc.astype(np.float32)
    made.arrays = (
        np.asarray(made.tk_nextmove), np.asarray(made._rowbase), np.asarray(made.tk_output, np.int32),
    )  # fmt: skip
    made.places = {label: made.nb_classes.index(label) for label in ("en", TAKEN_FOR_ENGLISH)}
    return made
