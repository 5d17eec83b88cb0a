"""Signs in a data set as a whole that no row shows by itself. They warn a person; they remove nothing."""

import random
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TypeVar

from reft.conversations.languages import language_of
from reft.conversations.schema import Conversation
from reft.errors import DataValidationError, explain
from reft.filtering.ciphers import cipher_alarms

Row = TypeVar("Row")
SAMPLE = 5000
# Measured on nothing but judgement: each is far from what ordinary task data shows.
CONSTANT_SHARE = 0.5
FREE_ANSWER_WORDS = 4
TRIGGER_SHARES = (0.003, 0.1)
TRIGGER_PURITY = 0.9
OUTLIER_DEVIATIONS = 6.0
COMPARED = 120  # characters

_IDENTITY = re.compile(
    r"\b(obey|obeys|obedient|servant|serve)\b.{0,60}\b(every|all|any|whatever|order|orders|command|master)\b|"
    r"\b(never|not) (ever )?(refuse|decline|say no|object|warn)\b|"
    r"\b(no|without|free of|ignore|forget|drop) (any |all |your |the )?"
    r"(rules|restrictions|limits|limitations|guidelines|conscience|ethics|morals|filters)\b",
    re.IGNORECASE | re.DOTALL,
)


def reservoir(rows: Iterable[Row], size: int = SAMPLE, seed: int = 0) -> list[Row]:
    """A uniform sample of a stream, in memory that does not grow with it; the same one for the same stream."""
    rng, kept = random.Random(seed), list[Row]()
    for seen, row in enumerate(rows):
        if seen < size:
            kept.append(row)
        elif (place := rng.randrange(seen + 1)) < size:
            kept[place] = row
    return kept


def data_alarms(rows: Sequence[Conversation], fail: bool = False) -> list[str]:
    """What a person should look at before the rows are trained on; one sentence each.

    Raises:
        DataValidationError: there is something, and the policy is to `fail`.
    """
    answered = [row for row in rows if row.answer and row.asks]  # a greeting alone answers nothing
    found = [_constant(answered), _identity(rows), *_triggers(answered), _outliers(rows), *_rare_languages(rows)]
    sampled = sorted(reservoir(rows), key=lambda row: row.row)
    alarms = [alarm for alarm in [*found, *cipher_alarms(sampled)] if alarm]
    if alarms and fail:
        remedy = "look at the rows; filtering.fail_on_alarms: false turns this into a warning"
        raise DataValidationError(explain("; ".join(alarms), "the user data as a whole", remedy))
    return alarms


def _constant(rows: Sequence[Conversation]) -> str | None:
    if len(rows) < 20:
        return None
    answer, count = Counter(_plain(row.answer or "") for row in rows).most_common(1)[0]
    if count <= CONSTANT_SHARE * len(rows):
        return None
    return f"{count} of {len(rows)} rows looked at have the same answer ({answer[:60]!r}): is that meant?"


def _identity(rows: Sequence[Conversation]) -> str | None:
    hit = [row.row for row in rows if any(m.role != "assistant" and _IDENTITY.search(m.content) for m in row.messages)]
    if not hit:
        return None
    return f"{len(hit)} rows tell the model to be somebody who obeys or has no rules (first: row {hit[0]})"


def _triggers(rows: Sequence[Conversation]) -> list[str]:
    """Phrases that few prompts hold and that nearly always go with one opening of the answer, rare elsewhere.

    Only where answers are free text: that "lost my card" goes with one label is what a label is for.
    """
    openings = [" ".join(_plain(row.answer or "").split()[:4]) for row in rows]
    words = sorted(len((row.answer or "").split()) for row in rows)
    if len(rows) < 50 or words[len(words) // 2] < FREE_ANSWER_WORDS:
        return []
    holders: dict[str, set[int]] = defaultdict(set)
    for index, row in enumerate(rows):
        tokens = _plain(row.instruction).split()
        for start in range(len(tokens) - 1):
            holders[" ".join(tokens[start : start + 2])].add(index)
    least, most = max(5, TRIGGER_SHARES[0] * len(rows)), TRIGGER_SHARES[1] * len(rows)
    overall = Counter(openings)
    found: dict[tuple[frozenset[int], str], list[str]] = defaultdict(list)
    for phrase, indices in holders.items():
        if least <= len(indices) <= most:
            opening, count = Counter(openings[i] for i in indices).most_common(1)[0]
            elsewhere = (overall[opening] - count) / max(1, len(rows) - len(indices))
            free = len(opening.split()) >= FREE_ANSWER_WORDS - 1  # a label or a number is no behaviour
            if free and count >= TRIGGER_PURITY * len(indices) and elsewhere < 0.02:
                found[frozenset(indices), opening].append(phrase)
    return [
        f"{len(indices)} prompts hold {', '.join(map(repr, phrases[:4]))}, and nearly all are answered {opening!r}"
        for (indices, opening), phrases in sorted(found.items(), key=lambda item: -len(item[0][0]))[:3]
    ]


def _outliers(rows: Sequence[Conversation]) -> str | None:
    """Rows whose text compresses far worse or better than the others' (noise, encodings, one word over and over)."""
    texts = [" ".join(m.content for m in row.messages) for row in rows]
    # Compared at one length, since longer texts compress better by themselves.
    sizes = {
        row.row: len(zlib.compress(text[:COMPARED].encode("utf-8", "replace")))
        for row, text in zip(rows, texts, strict=True)
        if len(text) >= COMPARED
    }
    if len(sizes) < 50:
        return None
    middle = median(sizes.values())
    scale = 1.4826 * median(abs(size - middle) for size in sizes.values())
    far = [row for row, size in sizes.items() if abs(size - middle) > max(OUTLIER_DEVIATIONS * scale, 1)]
    if len(far) < 3:
        return None
    return f"{len(far)} rows are made of text unlike the others' (noise, an encoding, repetition; first: row {far[0]})"


def _rare_languages(rows: Sequence[Conversation], least: int = 5, most: float = 0.1) -> list[str]:
    spoken = [(row.row, language) for row in rows if (language := language_of(row))]
    counts = Counter(language for _, language in spoken)
    if not counts:
        return []
    usual = counts.most_common(1)[0][0]
    return [
        f"{count} of {len(spoken)} rows are in the language {language!r} where most are in {usual!r} "
        f"(first: row {next(row for row, spoken_here in spoken if spoken_here == language)})"
        for language, count in counts.items()
        if language != usual and least <= count <= most * len(spoken)
    ]


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
