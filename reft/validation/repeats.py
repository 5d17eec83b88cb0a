"""Rows that say again what an earlier row said: word for word, or nearly.

Near means many runs of three words in common (MinHash, banded). Of a row only its bands are kept, 32 bytes, so that a
million rows fit: two rows that share 90 % of their runs are found 95 times in 100, at 80 % 70, at half 6.
"""

from collections.abc import Sequence

import numpy as np
import xxhash
from datasketch import MinHash

from reft.conversations.schema import Conversation

BANDS, VALUES = 4, 6
RUN = 3  # words
_EMPTY = MinHash(BANDS * VALUES, seed=1, hashfunc=xxhash.xxh32_intdigest)


def bands_of(row: Conversation) -> list[int]:
    """`BANDS` numbers of 64 bits; a system prompt, which rows often share, is left out."""
    words = " ".join(m.content for m in row.messages if m.role != "system").lower().split()
    sketch = _EMPTY.copy()
    sketch.update_batch({" ".join(words[i : i + RUN]).encode() for i in range(max(1, len(words) - RUN + 1))})
    parts = sketch.hashvalues.reshape(BANDS, VALUES)
    return [xxhash.xxh64_intdigest(part.tobytes()) for part in parts]


def first_like(keys: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """For each of `rows` (ascending positions), the earliest of them that shares one of the keys; itself where none.

    Args:
        keys: one array per band, over all positions.
    """
    first = rows.copy()
    for values in keys:
        _, start, group = np.unique(values[rows], return_index=True, return_inverse=True)
        np.minimum(first, rows[start][group], out=first)
    return first
