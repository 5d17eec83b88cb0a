"""`reft check-config` and `write-config`: profiles."""

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Make the commands part of `reft`."""
    app.command("check-config")(check_config)
    app.command("write-config")(write_config)


def check_config(profile: Annotated[Path, typer.Argument(help="a run configuration")] = Path("zenml.yaml")) -> None:
    """Read a run configuration and say whether every setting is right, and whether what it names is there."""
    from reft.config import read_profile
    from reft.validation.profile import faults_of

    if faults := faults_of(read_profile(profile)):
        for fault in faults:
            typer.echo(str(fault), err=True)
        raise typer.Exit(2)
    typer.echo(f"{profile}: every setting is right")


def write_config(profile: Annotated[Path, typer.Argument(help="a new file")] = Path("mine.yaml")) -> None:
    """Write a run configuration with every knob at its default, to start from; never overwrites a file."""
    from reft.config.profile import render_profile
    from reft.errors import ConfigurationError, explain
    from reft.storage.artifacts import write_text

    if profile.exists():
        raise ConfigurationError(explain("the file is there already", str(profile), "name a new one"))
    write_text(profile, render_profile())
    typer.echo(f"{profile}: written; then run zenml pipeline run reft_pipeline --config {profile}")
