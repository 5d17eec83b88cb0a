"""The command line: `reft ...`. Heavy libraries are imported inside the commands, so that help is quick."""

from pathlib import Path
from typing import Annotated

import typer

from reft.errors import ReftError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Safe finetuning on data nobody has vetted.")


@app.command("fetch-model")
def fetch_model() -> None:
    """Download, check and convert the default model (once per user)."""
    from reft.models.default_model import cache_folder, fetch_default_model

    there = (cache_folder() / "model.safetensors").is_file()
    folder = fetch_default_model()
    typer.echo(f"default model {'is there already' if there else 'fetched'}: {folder}")


@app.command("check-config")
def check_config(profile: Annotated[Path, typer.Argument(help="a run configuration")] = Path("zenml.yaml")) -> None:
    """Read a run configuration and say whether every setting is right."""
    from reft.config import read_profile

    read_profile(profile)
    typer.echo(f"{profile}: every setting is right")


@app.command("write-config")
def write_config(profile: Annotated[Path, typer.Argument(help="a new file")] = Path("mine.yaml")) -> None:
    """Write a run configuration with every knob at its default, to start from; never overwrites a file."""
    from reft.artifacts import write_text
    from reft.errors import ConfigurationError, explain
    from reft.profile import render_profile

    if profile.exists():
        raise ConfigurationError(explain("the file is there already", str(profile), "name a new one"))
    write_text(profile, render_profile())
    typer.echo(f"{profile}: written; then run zenml pipeline run reft_pipeline --config {profile}")


@app.command()
def show(folder: Annotated[Path, typer.Argument(help="folder of a run")] = Path("runs/latest")) -> None:
    """Print a run's result table and where its report lies."""
    from reft.artifacts import read_json
    from reft.report.summary import table

    summary = read_json(folder / "summary.json")
    student = summary["models"]["student"]
    typer.echo(table(summary))
    typer.echo(f"\nreport:   {folder / 'report.html'}")
    typer.echo(f"student:  {student['path']} (MLflow: {student['registered_name']} version {student['version']})")
    typer.echo("MLflow:   make mlflow   then open http://127.0.0.1:5000")
    typer.echo("ZenML:    make zenml    then open http://127.0.0.1:8237")


def main() -> None:
    """Entry point: a user's error is printed without a traceback and exits with 2."""
    try:
        app()
    except ReftError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
