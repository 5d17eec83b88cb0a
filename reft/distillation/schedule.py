"""Which rows each optimizer step sees: user rows and, at a stated ratio, alignment rows with them."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True)
class MicroBatch:
    """Indices of one forward pass on one process."""

    user: tuple[int, ...]
    alignment: tuple[int, ...]


def plan_steps(
    user_lengths: Sequence[int],
    alignment_lengths: Sequence[Sequence[int]],
    shares: Sequence[float],
    batch_size: int,
    epochs: int,
    alignment_ratio: float,
    seed: int,
    window: int = 8,
) -> list[MicroBatch]:
    """One entry per optimizer step, over all processes; `share_of` splits it.

    Without user rows, an epoch is a pass over as many alignment rows as there are.

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
        planned = plan_steps(stand_ins, alignment_lengths, shares, batch_size, epochs, 1.0, seed, window)
        return [MicroBatch((), step.alignment) for step in planned]
    per_step = math.ceil(batch_size * alignment_ratio) if any(alignment_lengths) else 0
    lengths = [length for group in alignment_lengths for length in group]
    starts = [sum(map(len, alignment_lengths[:place])) for place in range(len(alignment_lengths))]
    rounds = [_rounds(range(s, s + len(g)), rng) for s, g in zip(starts, alignment_lengths, strict=True)]
    steps: list[MicroBatch] = []
    for _ in range(epochs):
        order = list(range(len(user_lengths)))
        rng.shuffle(order)
        epoch: list[MicroBatch] = []
        for start in range(0, len(order), batch_size * window):
            user = sorted(order[start : start + batch_size * window], key=lambda i: user_lengths[i])
            places = range(0, len(user), batch_size)
            needed = per_step * len(places)
            counts = [round(share * needed) for share in shares[:-1]]
            counts.append(needed - sum(counts))
            drawn = [i for group, count in zip(rounds, counts, strict=True) for i in islice(group, count)]
            drawn.sort(key=lambda i: lengths[i])
            for number, place in enumerate(places):
                alignment = drawn[number * per_step : (number + 1) * per_step]
                epoch.append(MicroBatch(tuple(user[place : place + batch_size]), tuple(alignment)))
        rng.shuffle(epoch)
        steps += epoch
    return steps


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


def share_of(step: MicroBatch, process: int, processes: int, accumulation: int) -> list[MicroBatch]:
    """The forward passes of one process in one step: every row of the step lands in exactly one of them."""
    pieces = processes * accumulation
    return [
        MicroBatch(step.user[piece::pieces], step.alignment[piece::pieces])
        for piece in range(process * accumulation, (process + 1) * accumulation)
    ]
