"""`reft promote`, `rollback`, `history`, `retrain`: which version serves, who says so, whether it is out of date."""

import getpass
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from reft.errors import ConfigurationError, explain

DEFAULT_TEACHER = Path("runs/latest/teacher")
WHO = typer.Option("--by", help="who decides; none: the user of this machine")
WHY = typer.Option(help="for the audit trail")


def add_to(app: typer.Typer) -> None:
    """Make the commands of this module part of `reft`."""
    for command in (promote, rollback, history, retrain):
        app.command()(command)


def promote(
    name: Annotated[str, typer.Argument(help="registered model")] = "reft-student",
    to: Annotated[str, typer.Option(help="challenger, or champion: the version that serves")] = "champion",
    version: Annotated[str, typer.Option(help="none: the one a step below")] = "",
    by: Annotated[str, WHO] = "",
    reason: Annotated[str, WHY] = "",
    force: Annotated[bool, typer.Option("--force", help="overrule a gate that was not passed; needs a reason")] = False,
) -> None:
    """Let an alias point to a version that has passed its gate and whose files are those that were registered."""
    from reft.tracking import promotion

    if force and not reason.strip():
        raise ConfigurationError(explain("--force without --reason", name, "say why, for the audit trail"))
    entry, moved = promotion.promote(name, to, by or getpass.getuser(), reason, version or None, force)
    if entry is None:
        typer.echo(f"{name} version {moved} is the {to} already")
    else:
        typer.echo(f"{name} version {moved} is now the {to}{' (forced)' if entry.forced else ''}")


def rollback(
    name: Annotated[str, typer.Argument(help="registered model")] = "reft-student",
    by: Annotated[str, WHO] = "",
    reason: Annotated[str, WHY] = "",
) -> None:
    """Let the champion before the present one serve again."""
    from reft.tracking import promotion

    _, moved = promotion.rollback(name, by or getpass.getuser(), reason)
    typer.echo(f"{name} version {moved} is the champion again")


def history(name: Annotated[str, typer.Argument(help="registered model")] = "reft-student") -> None:
    """The audit trail, verified, and where the aliases stand."""
    from reft.tracking import promotion

    entries, aliases = promotion.history(name)
    for entry in entries:
        word = "forced" if entry.forced else "passed its gate" if entry.passed else "gate not passed"
        moved = f"{entry.alias}: {entry.before or 'none'} -> {entry.version}"
        typer.echo(f"{entry.number:4} {entry.time} {entry.action:8} {moved} by {entry.by} ({word}) {entry.reason}")
    typer.echo(f"{len(entries)} entries, the chain is whole; " + ", ".join(f"{a}: {v}" for a, v in aliases.items()))
    for warning in promotion.astray(entries, aliases):
        typer.echo(f"warning: {warning}", err=True)
    if entries:
        typer.echo(f"newest digest, to be kept elsewhere: {entries[-1].digest}")


def retrain(
    config: Annotated[Path, typer.Option(help="run configuration")] = Path("zenml.yaml"),
    if_needed: Annotated[bool, typer.Option("--if-needed", help="only where anything has changed or drifted")] = False,
    teacher: Annotated[Path, typer.Option(help="the champion's teacher, to see how new rows score")] = DEFAULT_TEACHER,
    canary: Annotated[str, typer.Option(help="new rows with right answers: does the champion still do its task?")] = "",
) -> None:
    """Run the pipeline again if a new student would be another one.

    Exits with 0 where there was nothing to do or the new student passed its gate, and with 4 where it did not: the
    champion then serves on.
    """
    from reft.config import read_profile
    from reft.retraining import canary_accuracy, canary_drift, decide_retraining
    from reft.tracking.registry import CANDIDATE, champion_version, files_of, gate_of, tags_of, version_at

    settings = read_profile(config)
    name = settings.tracking.registered_name
    serving = champion_version(name)
    verdict = gate_of(name, serving) if serving else {}
    champion = {**tags_of(name, serving), **verdict} if serving else None
    found = decide_retraining(settings, champion, teacher if (teacher / "scorer.json").is_file() else None)
    for reason in found.reasons:
        typer.echo(f"  {reason}")
    if canary and (known := verdict.get("outcomes", {}).get("accuracy")):
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
    made = version_at(name, CANDIDATE)
    verdict = gate_of(name, made)
    broken = [f"{rule['rule']} ({rule['figures']})" for rule in verdict["rules"] if not rule["passed"]]
    if broken:
        typer.echo(f"version {made} has not passed its gate: {'; '.join(broken)}", err=True)
        typer.echo(f"{f'version {serving} serves on' if serving else 'nothing serves yet'}", err=True)
        raise typer.Exit(4)
    typer.echo(f"version {made} passed its gate: reft promote {name} --version {made}")
