"""`reft retrain`: run the pipeline again if a new student would be another one."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from reft.cli.options import DEFAULT_TEACHER
from reft.errors import ConfigurationError, explain


def add_to(app: typer.Typer) -> None:
    """Make the command part of `reft`."""
    app.command()(retrain)


def retrain(
    config: Annotated[Path, typer.Option(help="run configuration")] = Path("zenml.yaml"),
    if_needed: Annotated[bool, typer.Option("--if-needed", help="only where what it is made of differs")] = False,
    teacher: Annotated[Path, typer.Option(help="the champion's teacher, to see how new rows score")] = DEFAULT_TEACHER,
    *,
    canary: Annotated[str, typer.Option(help="new rows with right answers: does the champion still do its task?")] = "",
) -> None:
    """Run the pipeline again if a new student would be another one.

    Exits with 0 where there was nothing to do or the new student passed its gate, and with 4 where it did not: the
    champion then serves on.
    """
    from reft.config import read_profile
    from reft.retraining.decision import canary_accuracy, canary_drift, decide_retraining
    from reft.tracking.registry import CANDIDATE, champion_version, files_of, gate_of, tags_of, version_at

    settings = read_profile(config)
    scorer = _teacher(teacher)
    name = settings.tracking.registered_name
    serving = champion_version(name)
    verdict = gate_of(name, serving) if serving else {}
    champion = {**tags_of(name, serving), **verdict} if serving else None
    found = decide_retraining(settings, champion, scorer)
    for reason in found.reasons:
        typer.echo(f"  {reason}")
    known = verdict.get("outcomes", {}).get("accuracy")
    if canary and not known:
        whose = "the champion has no accuracy to hold them against" if serving else "nothing serves yet"
        typer.echo(f"  the canary rows were not asked: {whose}")
    elif canary:
        with files_of(name, serving) as folder:
            typer.echo(f"  {canary_drift(known, canary_accuracy(settings, folder, canary))}")
    if if_needed and not found.needed:
        typer.echo("nothing to do")
        return
    typer.echo("retraining")
    zenml = str(Path(sys.executable).with_name("zenml"))
    command = [zenml, "pipeline", "run", "reft_pipeline", "--config", str(config)]
    if code := subprocess.run(command, check=False).returncode:
        raise typer.Exit(code)
    _say_outcome(name, version_at(name, CANDIDATE), serving=serving)


def _say_outcome(name: str, made: str, *, serving: str) -> None:
    """Whether the new student passed its gate; the gate's own word counts, since a rule may be a note alone.

    Raises:
        typer.Exit: with 4, it did not.
    """
    from reft.gate.rule import broken_in
    from reft.tracking.registry import gate_of

    verdict = gate_of(name, made)
    if verdict["passed"]:
        typer.echo(f"version {made} passed its gate: reft promote {name} --version {made}")
        return
    broken = "; ".join(f"{rule.rule} ({rule.figures})" for rule in broken_in(verdict))
    typer.echo(f"version {made} has not passed its gate: {broken}", err=True)
    typer.echo(f"{f'version {serving} serves on' if serving else 'nothing serves yet'}", err=True)
    raise typer.Exit(4)


def _teacher(folder: Path) -> Path | None:
    """The folder; None where the last run left none.

    Raises:
        ConfigurationError: somebody named a folder that holds no teacher.
    """
    if (folder / "scorer.json").is_file():
        return folder
    if folder == DEFAULT_TEACHER:
        return None
    remedy = "name the folder teacher of a run, as runs/latest/teacher"
    raise ConfigurationError(explain("no teacher lies here", f"--teacher {folder}", remedy))
