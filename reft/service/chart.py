"""A curve as numbers for an inline SVG: no script, no style of its own, nothing to fetch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float]]
MOST_POINTS = 600  # more are not seen at this width


@dataclass(frozen=True)
class Tick:
    """A label at a place of an axis."""

    at: float
    label: str
    anchor: str = "middle"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Where everything lies, in the units of the view box; `first` and `last` are the loss at both ends."""

    width: int = 640
    height: int = 220
    left: int = 52
    right: int = 630
    ticks: list[Tick]
    steps_at: list[Tick]
    train: str
    first: float
    last: float
    steps: int


def loss_chart(train: Points) -> Chart | None:
    """The training loss by step; None where fewer than two steps are known."""
    train = _drawable(train)
    if len(train) < 2:
        return None
    losses = [loss for _, loss in train]
    low, high = min(losses), max(losses)
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    first, last = train[0][0], train[-1][0]
    left, right, top, bottom = 52, 630, 10, 190

    def line(points: Points) -> str:
        across = (right - left) / max(last - first, 1)
        places = ((left + (x - first) * across, bottom - (y - low) / (high - low) * (bottom - top)) for x, y in points)
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)

    ticks = [Tick(bottom - part * (bottom - top), f"{low + part * (high - low):.3g}") for part in (0, 0.5, 1)]
    steps = [Tick(left, f"step {first:g}", "start"), Tick(right, f"step {last:g}", "end")]
    return Chart(
        ticks=ticks, steps_at=steps, train=line(train), first=train[0][1], last=train[-1][1], steps=int(last),
    )  # fmt: skip


def _drawable(points: Points) -> list[tuple[float, float]]:
    """In order, each step once, without what has no place, and not more than can be seen."""
    there = sorted({step: loss for step, loss in points if math.isfinite(loss)}.items())
    every = -(-len(there) // MOST_POINTS) or 1
    return there[::every] + ([there[-1]] if there and (len(there) - 1) % every else [])
