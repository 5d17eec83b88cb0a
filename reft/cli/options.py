"""Options that several commands share."""

import math
from pathlib import Path

import typer


def above_zero(value: float | None) -> float | None:
    """For a number that must be more than 0, and one: neither nan nor infinite.

    Raises:
        typer.BadParameter: it is not.
    """
    return _within(value, 0, math.inf, wanted="a number, more than 0")


def a_share(value: float | None) -> float | None:
    """For a share that may be neither nothing nor all.

    Raises:
        typer.BadParameter: it is.
    """
    return _within(value, 0, 1, wanted="a number, more than 0, less than 1")


def _within(value: float | None, low: float, high: float, *, wanted: str) -> float | None:
    if value is not None and not low < value < high:  # nan is not within either
        raise typer.BadParameter(f"{value:g} is given; wanted: {wanted}")
    return value


ROWS = typer.Argument(help="rows of any kind: a file, a folder of shards, s3://... or a hub id")
COLUMNS = typer.Option(help="prompt and answer column, as question,reply; none: told by the keys")
SPLIT = typer.Option(help="split of a folder or a hub set; none: train, where there are splits")
TEACHER = typer.Option(help="folder of a teacher, or none: the untrained difference of means")
FPR = typer.Option(callback=a_share, help="share of harmless rows that may be dropped")
DEFAULT_TEACHER = Path("runs/latest/teacher")
