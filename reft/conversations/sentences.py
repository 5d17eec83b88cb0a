"""A text in its sentences."""

import re

# "Yes, please." and "OK!" say nothing on their own: too short a sentence is read with its neighbour.
MIN_SENTENCE_WORDS = 4
SENTENCE_END = re.compile(r"""(?<![.!?\u2026])[.!?\u2026]+["')\]\u201d\u2019]*\s+|[\u3002\uff01\uff1f]+\s*|\n\s*""")


def word_count(text: str) -> int:
    """About how many words; Chinese, Japanese and Korean characters count half a word each."""
    return len(text.split()) + sum(character >= "\u2e80" for character in text) // 2


def sentences(text: str) -> list[tuple[int, int]]:
    """Where each sentence or line of a text begins and ends, in characters.

    A short one joins the next, and at the end the one before: whatever is put around a sentence, it is read with
    hardly more than itself.
    """
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    spans: list[tuple[int, int]] = []
    begin = 0
    for end in (*ends, len(text)):
        if word_count(text[begin:end]) >= MIN_SENTENCE_WORDS:
            spans.append((begin, end))
            begin = end
    if begin < len(text):
        spans.append((spans.pop()[0] if spans else 0, len(text)))
    return spans
