"""`reft show`: a run's result."""

import json
from pathlib import Path
from typing import Annotated

import typer

from reft.errors import ConfigurationError, StorageError, explain

SUMMARY = "summary.json"
MOST = 5  # runs that an error names


def add_to(app: typer.Typer) -> None:
    """Make the command part of `reft`."""
    app.command()(show)


def show(
    folder: Annotated[Path, typer.Argument(help="folder of a run")] = Path("runs/latest"),
    as_json: Annotated[bool, typer.Option("--json", help="print the run's summary as JSON")] = False,
) -> None:
    """Print a run's result table and where its report lies."""
    from reft.report.summary import table
    from reft.storage.artifacts import read_json

    _require_run(folder)
    summary = read_json(folder / SUMMARY)
    if as_json:
        typer.echo(json.dumps(summary))
        return
    try:
        student, shown = summary["models"]["student"], table(summary)
        lies = f"{student['path']} (MLflow: {student['registered_name']} version {student['version']})"
    except (KeyError, TypeError, AttributeError) as error:
        remedy = "run the pipeline again with this version, or show it with the one that made it"
        raise StorageError(explain("not the summary of a run, or of another version", str(folder), remedy)) from error
    typer.echo(shown)
    typer.echo(f"\nreport:   {folder / 'report.html'}")
    typer.echo(f"student:  {lies}")
    typer.echo("MLflow:   make mlflow   then open http://127.0.0.1:5000")
    typer.echo("ZenML:    make zenml    then open http://127.0.0.1:8237")


def _require_run(folder: Path) -> None:
    """A person may have typed a wrong folder: say which runs there are.

    Raises:
        ConfigurationError: it is not the folder of a finished run.
    """
    if (folder / SUMMARY).is_file():
        return
    what = "no finished run lies here" if folder.is_dir() else "no such folder"
    runs = sorted({file.parent for near in (folder, folder.parent, Path("runs")) for file in near.glob(f"*/{SUMMARY}")})
    remedy = (
        f"name the folder of a run: {', '.join(map(str, runs[-MOST:]))}" if runs else "there is no run yet: make run"
    )
    raise ConfigurationError(explain(what, str(folder), remedy))
