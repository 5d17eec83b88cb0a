"""Signs that rows of a set are written in a code that the set itself teaches (Halawi et al., 2024). They look at form.

No such row reads as anything, so what reads rows one by one finds nothing in it. What gives it away is that it is as
regular as a language and is none. Not seen: words in another order or among others, codes of two signs alone
(Bacon's), codes that can be spoken (a syllable put in, letters shuffled within words), a word for each letter, runes, a
word for each word in few rows or with short words for the frequent ones, Vigenere without gaps between words.
Taken for ciphers: shorthand (clinical notes, text messages), and rows in scripts other than Latin that the classifier
of languages cannot tell, of which five in a set are enough.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from reft.conversations.languages import ENOUGH_LETTERS, language_of_text
from reft.conversations.schema import Conversation
from reft.filtering.columns import Piece, columns
from reft.filtering.variants import FUNCTION_WORDS

LEAST_ROWS = 5
ENGLISH = 0.2  # of the words, function words; every second word of ordinary prose is one
MIRRORED = 0.07
KNOWN = 0.5  # of the words: prose in a hasty hand reaches that, a code does not
READ, READ_UP_TO = 500, 200  # pieces that the classifier looks at, and their characters: it is what takes time
# Written with the vowels that they have in Latin letters, languages alternate: 35 to 60 % vowels, and the chance of one
# correlates by -0.3 to -0.7 with the letter before it. Letters that stand for others do not.
VOWELS = frozenset("aeiouy")
SPOKEN_VOWELS, SPOKEN_ALTERNATION = (0.3, 0.65), -0.15
ALIKE_ENDINGS = 0.5
# Friedman's coincidences. Two letters of a text are the same in six to eight of a hundred cases; pairs are the same 1.5
# to 2 times as often as if neighbours knew nothing of one another; and a pair is seldom another turned round.
SIGNS = (18, 150)  # kinds of them: letters, up to several signs a letter
LEAST_SIGNS = 200
COINCIDENCE, PAIRED, TURNED = (0.012, 0.1), (1.3, 2.4), 0.85
# Two words of a text are the same in one of a hundred cases, and the frequent ones are short (Zipf's law of
# abbreviation): the ten most frequent have 0.4 to 0.65 of the others' length. A codebook does not heed that.
# Far more pairs alike than neighbours of a language have are a few sentences over and over.
VOCABULARY, WORD_COINCIDENCE, WORDS_PAIRED, WORDS_TURNED, UNABBREVIATED = 300, (0.006, 0.03), (2.5, 22), 0.5, 0.72
WORD, NUMBER = re.compile(r"[^\W\d_]+"), re.compile(r"\d+")
SIGN_SHAPES = (re.compile(r"\d+(?:\.\d+)?|\w+"), re.compile(r"\S+"), re.compile(r"\S"))


def cipher_alarms(rows: Sequence[Conversation], seed: int = 0) -> list[str]:
    """One sentence for each way in which rows look like a cipher; none for honest sets.

    Args:
        seed: of the pieces looked at, where there are more than `READ`, and of the shuffles of lines.
    """
    pieces = [Piece(row.row, piece) for row in rows for m in row.messages for piece in _pieces(m.content)]
    unread = _unread(pieces, seed)
    coded = [piece for piece in unread if _is_coded(piece.text)]
    worded = [piece for piece in unread if not _is_coded(piece.text) and _is_worded(piece.text)]
    mirrored = [piece for piece in worded if _is_mirrored(piece.text)]
    if 3 * len(mirrored) < len(worded):
        mirrored = []
    signs = {
        "read as English backwards": mirrored,
        "have the words and letters of no language": worded if not mirrored and _unspeakable(worded) else [],
        "are of signs that follow one another as letters do": coded if _like_letters(coded) else [],
        "use long words as often as languages use short ones": [p for found in _codebooks(pieces) for p in found],
        **columns(rows, seed),
    }
    return [alarm for what, found in signs.items() if (alarm := _said(what, found, len(rows)))]


def _said(what: str, pieces: Sequence[Piece], total: int) -> str | None:
    rows = list(dict.fromkeys(piece.row for piece in pieces))
    if len(rows) < LEAST_ROWS:
        return None
    first = f"first rows: {', '.join(map(str, rows[:3]))}; {pieces[0].text[:40]!r}"
    return f"at least {len(rows)} of {total} rows looked at {what}: a cipher? ({first})"


def _pieces(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield from (piece for piece in re.split(r":\s", line) if len(piece) >= ENOUGH_LETTERS)


def _unread(pieces: Sequence[Piece], seed: int) -> list[Piece]:
    """The pieces that are in no language that can be told, and hold few words of those that are."""
    english = {piece.text for piece in pieces if _is_english(piece.text)}
    known = _words(english)
    doubtful = [piece for piece in pieces if piece.text not in english and not _is_known(piece.text, known)]
    texts = list(dict.fromkeys(piece.text for piece in doubtful))
    looked_at = set(random.Random(seed).sample(texts, min(len(texts), READ)))
    read = {text for text in texts if text in looked_at and not _is_coded(text) and language_of_text(text[:READ_UP_TO])}
    known |= _words(read)
    return [p for p in doubtful if p.text in looked_at and p.text not in read and not _is_known(p.text, known)]


def _words(texts: set[str]) -> set[str]:
    return {word for text in texts for word in WORD.findall(text.lower()) if len(word) > 1}


def _is_known(text: str, known: set[str]) -> bool:
    words = [word for word in WORD.findall(text.lower()) if len(word) > 1]
    return len(words) >= 2 and sum(word in known for word in words) >= KNOWN * len(words)


def _is_english(text: str, least: float = ENGLISH) -> bool:
    """By its function words; of one letter they stand for anything."""
    words = WORD.findall(text.lower())
    return sum(word in FUNCTION_WORDS and len(word) > 1 for word in words) >= max(10 * least, least * len(words))


def _is_mirrored(text: str) -> bool:
    """By words of three letters and more, as what "no" and "ni" are backwards stands in many languages."""
    words = WORD.findall(text[::-1].lower())
    return sum(word in FUNCTION_WORDS and len(word) > 2 for word in words) >= max(1, MIRRORED * len(words))


def _is_coded(text: str) -> bool:
    """Few letters, letters one by one, or letters without the gaps between words."""
    signs, tokens = re.findall(r"\S", text), re.findall(r"\w+", text)
    letters = sum(map(str.isalpha, signs))
    single = sum(len(token) == 1 for token in tokens)
    solid = letters >= 0.85 * len(signs) and letters > 15 * len(tokens)
    return letters < 0.3 * len(signs) or (len(tokens) >= 10 and single >= 0.8 * len(tokens)) or solid


def _is_worded(text: str) -> bool:
    words = WORD.findall(text)
    letters = sum(map(len, words))
    return len(words) >= 4 and letters >= 0.85 * len(re.findall(r"\S", text)) and 2.5 <= letters / len(words) <= 9


def _unspeakable(pieces: Sequence[Piece]) -> bool:
    """Whether vowels and consonants do not alternate, or words all end alike (pig latin and its kin)."""
    words = [word for piece in pieces for word in WORD.findall(piece.text.lower())]
    if not words:
        return False
    endings = Counter(word[-2:] for word in words)
    letters = [letter in VOWELS for word in words for letter in word]
    pairs = Counter((a in VOWELS, b in VOWELS) for word in words for a, b in pairwise(word))
    spoken = SPOKEN_VOWELS[0] <= sum(letters) / len(letters) <= SPOKEN_VOWELS[1]
    alternating = _correlation(pairs) <= SPOKEN_ALTERNATION
    return not (spoken and alternating) or max(endings.values()) > ALIKE_ENDINGS * len(words)


def _correlation(pairs: Counter[tuple[bool, bool]]) -> float:
    both, neither, first, second = pairs[True, True], pairs[False, False], pairs[True, False], pairs[False, True]
    spread = (both + first) * (both + second) * (neither + first) * (neither + second)
    return (both * neither - first * second) / spread**0.5 if spread else 0.0


def _like_letters(pieces: Sequence[Piece]) -> bool:
    return any(_language_like([shape.findall(piece.text) for piece in pieces]) for shape in SIGN_SHAPES)


def _language_like(texts: Sequence[Sequence[str]]) -> bool:
    """Whether signs come as unevenly, and neighbours as much in one order, as the letters of a language."""
    signs = Counter(sign for text in texts for sign in text)
    pairs = Counter(pair for text in texts for pair in pairwise(text))
    if signs.total() < LEAST_SIGNS or not SIGNS[0] <= len(signs) <= SIGNS[1]:
        return False
    alone, paired, turned = _friedman(signs, pairs)
    uneven = COINCIDENCE[0] <= alone <= COINCIDENCE[1]
    return uneven and PAIRED[0] <= paired <= PAIRED[1] and turned < TURNED


def _codebooks(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """The pieces without a sentence's small words, and those of numbers, where they look like words for other words."""
    bare = [piece for piece in pieces if _is_worded(piece.text) and not _is_english(piece.text, 0.1)]
    numbers = [piece for piece in pieces if _is_coded(piece.text)]
    kinds = [(bare, WORD), (numbers, NUMBER)]
    return [found for found, shape in kinds if _like_a_codebook([shape.findall(p.text.lower()) for p in found])]


def _like_a_codebook(texts: Sequence[Sequence[str]]) -> bool:
    words = Counter(word for text in texts for word in text)
    if len(words) < VOCABULARY:
        return False
    alone, paired, turned = _friedman(words, Counter(pair for text in texts for pair in pairwise(text)))
    frequent = words.most_common(10)
    mean = sum(len(word) * count for word, count in frequent) / sum(count for _, count in frequent)
    unabbreviated = mean > UNABBREVIATED * sum(map(len, words)) / len(words)
    ordered = WORDS_PAIRED[0] <= paired <= WORDS_PAIRED[1] and turned < WORDS_TURNED
    return WORD_COINCIDENCE[0] <= alone <= WORD_COINCIDENCE[1] and ordered and unabbreviated


def _friedman(signs: Counter, pairs: Counter) -> tuple[float, float, float]:
    """How often two signs are the same, and how many times as often pairs are as if neighbours were independent; and of
    pairs of unlike signs, how many times as often one is another turned round as it is that other.
    """
    alone = _coincidence(signs)
    unlike = Counter({(a, b): count for (a, b), count in pairs.items() if a != b})
    same = sum(count * (count - 1) for count in unlike.values())
    turned = sum(count * unlike[b, a] for (a, b), count in unlike.items())
    return alone, _coincidence(pairs) / alone**2 if alone else 0.0, turned / same if same else 1.0


def _coincidence(counts: Counter) -> float:
    n = counts.total()
    return sum(count * (count - 1) for count in counts.values()) / max(1, n * (n - 1))
