"""Which rows each optimizer step sees: user rows and, at a stated ratio, alignment rows with them."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice


@dataclass(frozen=True)
class MicroBatch:
    """Indices of one forward pass on one process."""

    user: tuple[int, ...]
    alignment: tuple[int, ...]


def plan_steps(
    user_lengths: Sequence[int],
    alignment_lengths: Sequence[Sequence[int]],
    shares: Sequence[float],
    *,
    batch_size: int,
    epochs: int,
    alignment_ratio: float,
    seed: int,
    least_alignment: int = 0,
    window: int = 8,
) -> list[MicroBatch]:
    """One entry per optimizer step, over all processes; `share_of` splits it.

    Without user rows, an epoch is a pass over as many alignment rows as there are. Where the user rows are so few that
    fewer than `least_alignment` alignment rows would be seen with them, steps of alignment rows alone are spread
    evenly among the others.

    User rows are shuffled every epoch; the alignment rows of each class go round and round in their own
    shuffled order, and every step gets the same number, so that both terms of the loss see every step.
    Within windows of `window` steps rows are sorted by length, since a step is one padded batch.

    Args:
        alignment_lengths: token counts by class (harmful, harmless); rows are numbered through the classes.
        shares: what each class makes up of a window's alignment rows; together 1.
    """
    rng = random.Random(seed)
    if not user_lengths and any(alignment_lengths):
        stand_ins = [0] * sum(map(len, alignment_lengths))
        planned = plan_steps(
            stand_ins, alignment_lengths, shares, batch_size=batch_size, epochs=epochs, alignment_ratio=1.0,
            seed=seed, least_alignment=0, window=window,
        )  # fmt: skip
        return [MicroBatch((), step.alignment) for step in planned]
    per_step = math.ceil(batch_size * alignment_ratio) if any(alignment_lengths) else 0
    alignment_rows = _AlignmentRows(alignment_lengths, shares, per_step, rng=rng)
    steps: list[MicroBatch] = []
    for _ in range(epochs):
        steps += _epoch(user_lengths, alignment_rows, rng, batch_size=batch_size, window=window)
    missing = math.ceil(max(0, least_alignment - per_step * len(steps)) / per_step) if per_step else 0
    alone = [rows for start in range(0, missing, window) for rows in alignment_rows.of(min(window, missing - start))]
    rng.shuffle(alone)
    return _spread(steps, [MicroBatch((), rows) for rows in alone])


def _epoch(
    user_lengths: Sequence[int], alignment_rows: "_AlignmentRows", rng: random.Random, *, batch_size: int, window: int
) -> list[MicroBatch]:
    """Every user row once, in random order, with the alignment rows that come next."""
    order = list(range(len(user_lengths)))
    rng.shuffle(order)
    epoch: list[MicroBatch] = []
    for start in range(0, len(order), batch_size * window):
        user = sorted(order[start : start + batch_size * window], key=lambda i: user_lengths[i])
        places = range(0, len(user), batch_size)
        for place, alignment in zip(places, alignment_rows.of(len(places)), strict=True):
            epoch.append(MicroBatch(tuple(user[place : place + batch_size]), alignment))
    rng.shuffle(epoch)
    return epoch


class _AlignmentRows:
    """The alignment rows, each class going round and round in its own shuffled order, at their shares."""

    def __init__(
        self, lengths: Sequence[Sequence[int]], shares: Sequence[float], per_step: int, *, rng: random.Random
    ) -> None:
        ends = list(accumulate(map(len, lengths)))
        self._rounds = [_rounds(range(end - len(group), end), rng) for end, group in zip(ends, lengths, strict=True)]
        self._lengths = [length for group in lengths for length in group]
        self._shares, self._per_step = shares, per_step

    def of(self, steps: int) -> list[tuple[int, ...]]:
        """The rows of the next so many steps, each step's of similar length."""
        needed = self._per_step * steps
        counts = [round(share * needed) for share in self._shares[:-1]]
        counts.append(needed - sum(counts))
        found = [i for group, count in zip(self._rounds, counts, strict=True) for i in islice(group, count)]
        found.sort(key=lambda i: self._lengths[i])
        return [tuple(found[step * self._per_step : (step + 1) * self._per_step]) for step in range(steps)]


def _spread(steps: Sequence[MicroBatch], among: Sequence[MicroBatch]) -> list[MicroBatch]:
    """Both in their own order, the one evenly among the other."""
    placed = [((i + 0.5) / len(group), step) for group in (steps, among) for i, step in enumerate(group)]
    return [step for _, step in sorted(placed, key=lambda found: found[0])]


def class_shares(harmful: int, rows: int, harmful_share: float | None) -> tuple[float, float]:
    """What harmful and harmless rows make up of the alignment rows that are drawn.

    As in the data where no share is wanted, or where a class has no rows to draw from.
    """
    natural = harmful / rows if rows else 0.0
    share = natural if harmful_share is None or natural in (0.0, 1.0) else harmful_share
    return share, 1 - share


def _rounds(rows: Sequence[int], rng: random.Random) -> Iterator[int]:
    """The rows for ever, in a new order each time round."""
    while rows:
        again = list(rows)
        rng.shuffle(again)
        yield from again


def share_of(step: MicroBatch, process: int, processes: int, *, accumulation: int) -> list[MicroBatch]:
    """The forward passes of one process in one step: every row of the step lands in exactly one of them."""
    pieces = processes * accumulation
    return [
        MicroBatch(step.user[piece::pieces], step.alignment[piece::pieces])
        for piece in range(process * accumulation, (process + 1) * accumulation)
    ]
