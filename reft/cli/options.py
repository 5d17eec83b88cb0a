"""Options that several commands share."""

from pathlib import Path

import typer

ROWS = typer.Argument(help="rows of any kind: a file, a folder of shards, s3://... or a hub id")
COLUMNS = typer.Option(help="prompt and answer column, as question,reply; none: told by the keys")
SPLIT = typer.Option(help="split of a folder or a hub set; none: train, where there are splits")
TEACHER = typer.Option(help="folder of a teacher, or none: the untrained difference of means")
FPR = typer.Option(help="share of harmless rows that may be dropped")
DEFAULT_TEACHER = Path("runs/latest/teacher")
