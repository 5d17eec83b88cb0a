"""Rows that say again what an earlier row said: word for word, or nearly.

Near means many runs of three words in common (MinHash, banded). Of a row only its bands are kept, 32 bytes, so that a
million rows fit: two rows that share 90 % of their runs are found 95 times in 100, at 80 % 70, at half 6.
"""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate

import numpy as np
import pandas as pd
import xxhash

from reft.conversations.schema import Conversation

BANDS, VALUES = 4, 6
RUN = 3  # words
RUNS_AT_ONCE = 1 << 16


def words_of(text: str) -> list[str]:
    """The words of a text, without regard to case."""
    return text.lower().split()


def bands_of(row: Conversation) -> list[int]:
    """`BANDS` numbers of 64 bits; a system prompt, which rows often share, is left out."""
    return bands_of_words([[word for m in row.messages if m.role != "system" for word in words_of(m.content)]])[0]


def bands_of_words(rows: Sequence[Sequence[str]]) -> list[list[int]]:
    """`bands_of` for the words of many rows, as datasketch's `MinHash` would sketch each on its own."""
    found: list[list[int]] = []
    hashes: list[int] = []
    starts: list[int] = []
    for words in rows:
        starts.append(len(hashes))
        said = " ".join(words).encode()
        ends = list(accumulate(map((1).__add__, map(len, said.split(b" ")))))
        runs = zip([0, *ends], ends[RUN - 1 :] or ends[-1:], strict=False)
        hashes += [xxhash.xxh32_intdigest(said[begin : end - 1]) for begin, end in runs]
        if len(hashes) > RUNS_AT_ONCE:
            found += _bands(hashes, starts)
            hashes, starts = [], []
    return found + (_bands(hashes, starts) if starts else [])


def _bands(hashes: list[int], starts: list[int]) -> list[list[int]]:
    """Of the runs of each row (they begin at `starts`) the least under each permutation, in bands."""
    mixed = _mixed(np.array(hashes, np.uint32))
    least = np.empty((len(starts), BANDS * VALUES), np.uint32)
    for place, (factor, addend) in enumerate(zip(*_permutations(), strict=True)):
        np.minimum.reduceat(mixed * factor + addend, starts, out=least[:, place])
    said, width = memoryview(least.tobytes()), 4 * VALUES
    digests = [xxhash.xxh64_intdigest(said[begin : begin + width]) for begin in range(0, len(said), width)]
    return [digests[begin : begin + BANDS] for begin in range(0, len(digests), BANDS)]


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """MurmurHash3's last step, which datasketch's scheme affine32 puts before its permutations."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


@cache
def _permutations() -> np.ndarray:
    """datasketch's: [2, permutations], factors and addends."""
    from datasketch import MinHash  # takes half a second to import

    return np.asarray(MinHash(BANDS * VALUES, seed=1, scheme="affine32").permutations)


def first_like(keys: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """For each of `rows` (ascending positions), the earliest of them that shares one of the keys; itself where none.

    Args:
        keys: one array per band, over all positions.
    """
    first = rows.copy()
    for values in keys:
        codes, known = pd.factorize(values[rows])
        earliest = np.empty(len(known), rows.dtype)
        earliest[codes[::-1]] = rows[::-1]
        np.minimum(first, earliest[codes], out=first)
    return first
