"""`reft show`: a run's result."""

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Make the command part of `reft`."""
    app.command()(show)


def show(folder: Annotated[Path, typer.Argument(help="folder of a run")] = Path("runs/latest")) -> None:
    """Print a run's result table and where its report lies."""
    from reft.report.summary import table
    from reft.storage.artifacts import read_json

    summary = read_json(folder / "summary.json")
    student = summary["models"]["student"]
    typer.echo(table(summary))
    typer.echo(f"\nreport:   {folder / 'report.html'}")
    typer.echo(f"student:  {student['path']} (MLflow: {student['registered_name']} version {student['version']})")
    typer.echo("MLflow:   make mlflow   then open http://127.0.0.1:5000")
    typer.echo("ZenML:    make zenml    then open http://127.0.0.1:8237")
