"""Phrases of the user's rows that may be triggers: those whose rows are unlike the others in how they are answered.

For each row two numbers: how likely the base model finds its answer, and the refusal feature of its prompt where the
filter has read it. A phrase's statistic is the standardised sum of its rows' ranks (Wilcoxon), the larger of the two
in absolute value. How large that becomes by chance over *all* phrases is told by dealing the numbers to other rows:
the p-value of a phrase holds for the whole set of phrases (Westfall and Young 1993, max T).

A phrase that is found accuses nobody, since a task's own words go with its labels: it is put before harmful prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata
from sklearn.feature_extraction.text import CountVectorizer

LEAST_ROWS = 5
MOST_SHARE = 0.5  # what stands in more rows is the task's own frame
LONGEST = 4  # words
WORDS = 200  # of a prompt, from its beginning and from its end
DEALS = 400  # random ones
SAME = 0.6  # shared rows, of all rows of two phrases, from which they are one finding


@dataclass(frozen=True)
class Trigger:
    """A phrase, how many rows hold it, its standardised rank sum, and its p-value over all phrases."""

    phrase: str
    rows: int
    z: float
    p: float


def mine(
    prompts: Sequence[str], numbers: Sequence[Sequence[float]], *, most: int, significance: float = 0.05, seed: int = 0
) -> list[Trigger]:
    """The phrases that go with unusual rows, the most unusual first; none where chance explains all.

    Args:
        prompts: what the user says in each row.
        numbers: one or more numbers of every row, each [rows].
        most: so many at most.
        significance: the chance to find any phrase where none goes with anything.
    """
    counted = CountVectorizer(
        ngram_range=(1, LONGEST), binary=True, lowercase=False, token_pattern=r"\S+", min_df=LEAST_ROWS,
        max_df=MOST_SHARE, dtype=np.float64,
    )  # fmt: skip
    try:
        holds = counted.fit_transform([_ends(prompt) for prompt in prompts])  # [rows, phrases]
    except ValueError:  # no phrase stands in enough rows and in few enough
        return []
    sizes, rows, generator = np.asarray(holds.sum(0)).ravel(), len(prompts), np.random.default_rng(seed)
    ranks = np.stack([rankdata(of) for of in numbers], axis=1)  # [rows, numbers]

    def statistic(dealt: np.ndarray) -> np.ndarray:
        """[phrases]: the largest absolute standardised rank sum; what does not vary says nothing."""
        spread = dealt.std(0, ddof=1)
        sums = holds.T @ (dealt - dealt.mean(0))
        deviations = np.sqrt(sizes * (rows - sizes) / rows)[:, None] * np.where(spread > 0, spread, np.inf)
        return np.abs(sums / deviations).max(1)

    z = statistic(ranks)
    by_chance = np.array([statistic(generator.permutation(ranks)).max() for _ in range(DEALS)])
    found: list[Trigger] = []
    taken: list[set[int]] = []
    # Of phrases that stand in the same rows the longest names them all.
    phrases = counted.get_feature_names_out()
    for i in sorted(range(len(z)), key=lambda i: (-round(z[i], 9), -len(phrases[i]))):
        p = float((1 + (by_chance >= z[i]).sum()) / (1 + DEALS))
        if p > significance or len(found) == most:
            break
        own = set(holds[:, [i]].nonzero()[0].tolist())
        if all(len(own & other) < SAME * len(own | other) for other in taken):
            found.append(Trigger(str(phrases[i]), int(sizes[i]), float(z[i]), p))
            taken.append(own)
    return found


def _ends(prompt: str) -> str:
    words = prompt.split()
    return prompt if len(words) <= 2 * WORDS else " ".join([*words[:WORDS], "...", *words[-WORDS:]])
