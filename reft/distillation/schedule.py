"""Which rows each optimizer step sees: user rows and, at a stated ratio, alignment rows with them."""

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class MicroBatch:
    """Indices of one forward pass on one process."""

    user: tuple[int, ...]
    alignment: tuple[int, ...]


def plan_steps(
    user_lengths: list[int],
    alignment_rows: int,
    batch_size: int,
    epochs: int,
    alignment_ratio: float,
    seed: int,
    window: int = 8,
) -> list[MicroBatch]:
    """One entry per optimizer step, over all processes; `share_of` splits it.

    User rows are shuffled every epoch and sorted by length within windows of `window` steps.
    Alignment rows go round and round in their own shuffled order; every step gets the same number,
    so that both terms of the loss see every optimizer step.
    """
    rng = random.Random(seed)
    per_step = math.ceil(batch_size * alignment_ratio) if alignment_rows else 0
    pool: list[int] = []
    steps: list[MicroBatch] = []
    for _ in range(epochs):
        order = list(range(len(user_lengths)))
        rng.shuffle(order)
        epoch: list[tuple[int, ...]] = []
        for start in range(0, len(order), batch_size * window):
            part = sorted(order[start : start + batch_size * window], key=lambda i: user_lengths[i])
            epoch += [tuple(part[i : i + batch_size]) for i in range(0, len(part), batch_size)]
        rng.shuffle(epoch)
        for user in epoch:
            while len(pool) < per_step:
                again = list(range(alignment_rows))
                rng.shuffle(again)
                pool += again
            steps.append(MicroBatch(user, tuple(pool[:per_step])))
            del pool[:per_step]
    return steps


def share_of(step: MicroBatch, process: int, processes: int, accumulation: int) -> list[MicroBatch]:
    """The forward passes of one process in one step: every row of the step lands in exactly one of them."""
    pieces = processes * accumulation
    return [
        MicroBatch(step.user[piece::pieces], step.alignment[piece::pieces])
        for piece in range(process * accumulation, (process + 1) * accumulation)
    ]
