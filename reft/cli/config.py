"""`reft check-config` and `write-config`: profiles."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def add_to(app: typer.Typer) -> None:
    """Make the commands part of `reft`."""
    app.command("check-config")(check_config)
    app.command("write-config")(write_config)


def check_config(
    profile: Annotated[Path, typer.Argument(help="a run configuration")] = Path("zenml.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="print the faults as JSON")] = False,
) -> None:
    """Read a run configuration and say whether every setting is right, and whether what it names is there.

    Exits with 2 where anything is wrong.
    """
    from reft.errors import ConfigurationError

    if not as_json:
        faults = _faults_of(profile)
        for fault in faults:
            place = f"{profile}, line {fault['line']}" if fault["line"] else str(profile)
            typer.echo(f"{place}: {fault['setting']}: {fault['what']}; {fault['remedy']}", err=True)
    else:
        try:
            faults = _faults_of(profile)
        except ConfigurationError as error:
            faults = _told(error)
        typer.echo(json.dumps({"profile": str(profile), "right": not faults, "faults": faults}, indent=1))
    if faults:
        raise typer.Exit(2)
    if not as_json:
        typer.echo(f"{profile}: every setting is right")


def _told(error: Exception) -> list[dict[str, Any]]:
    """What kept the settings from being read, in the form of `_faults_of`; the setting is "" where it is the file."""
    from reft.errors import parts

    what, where, remedy = parts(error)
    problems = getattr(error, "problems", ()) or [("", " in ".join(filter(None, (what, where))), None)]
    return [{"setting": name, "what": what, "line": line, "remedy": remedy} for name, what, line in problems]


def _faults_of(profile: Path) -> list[dict[str, Any]]:
    """What is wrong with what the settings name, with the line of each that the profile gives."""
    from reft.config import parse_settings
    from reft.config.file import lines_of, read_values
    from reft.errors import ConfigurationError, parts

    values, file = read_values(profile)
    settings = parse_settings(values, file)
    from reft.finetuning.methods import require_for_pipeline
    from reft.tracking.names import refused_names  # slow to import: what is wrong with the keys is said before
    from reft.validation.faults import Fault
    from reft.validation.profile import faults_of

    faults = [*faults_of(settings), *refused_names(settings.tracking)]
    try:
        require_for_pipeline(settings.finetuning)
    except ConfigurationError as error:
        what, setting, remedy = parts(error)
        faults.append(Fault(setting, what, remedy))
    lines = lines_of(file)
    return [
        {"setting": found.setting, "what": found.what, "line": lines.get(found.setting), "remedy": found.remedy}
        for found in faults
    ]


def write_config(profile: Annotated[Path, typer.Argument(help="a new file")] = Path("mine.yaml")) -> None:
    """Write a run configuration with every knob at its default, to start from; never overwrites a file."""
    from reft.config.profile import render_profile
    from reft.errors import ConfigurationError, explain
    from reft.storage.artifacts import write_text

    if profile.exists():
        raise ConfigurationError(explain("the file is there already", str(profile), "name a new one"))
    write_text(profile, render_profile())
    typer.echo(f"{profile}: written; then run zenml pipeline run reft_pipeline --config {profile}")
