"""`reft promote`, `rollback`, `history`: which version serves, and who says so."""

import getpass
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from reft.errors import ConfigurationError, explain

if TYPE_CHECKING:
    from reft.promotion.audit_log import Entry

WHO = typer.Option("--by", help="who decides; none: the user of this machine")
WHY = typer.Option(help="for the audit log")
JSON = typer.Option("--json", help="print the result as JSON")


def add_to(app: typer.Typer) -> None:
    """Make the commands part of `reft`."""
    for command in (promote, rollback, history):
        app.command()(command)


def promote(
    name: Annotated[str, typer.Argument(help="registered model")] = "reft-student",
    to: Annotated[str, typer.Option(help="challenger, or champion: the version that serves")] = "champion",
    version: Annotated[str, typer.Option(help="none: the one a step below")] = "",
    *,
    by: Annotated[str, WHO] = "",
    reason: Annotated[str, WHY] = "",
    force: Annotated[bool, typer.Option("--force", help="overrule the gate; needs a reason")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Let an alias point to a version that has passed its gate and whose files are those that were registered."""
    from reft.tracking import promotion

    if force and not reason.strip():
        raise ConfigurationError(explain("--force without --reason", name, "say why, for the audit log"))
    entry, moved = promotion.promote(
        name, to, by or getpass.getuser(), reason=reason, version=version or None, force=force
    )
    if as_json:
        _print_move(name, to, moved, entry=entry)
    elif entry is None:
        typer.echo(f"{name} version {moved} is the {to} already")
    else:
        typer.echo(f"{name} version {moved} is now the {to}{' (forced)' if entry.forced else ''}")


def rollback(
    name: Annotated[str, typer.Argument(help="registered model")] = "reft-student",
    by: Annotated[str, WHO] = "",
    *,
    reason: Annotated[str, WHY] = "",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Let the champion before the present one serve again."""
    from reft.tracking import promotion

    entry, moved = promotion.rollback(name, by or getpass.getuser(), reason)
    if as_json:
        _print_move(name, promotion.CHAMPION, moved, entry=entry)
        return
    typer.echo(f"{name} version {moved} is the champion again")


def history(
    name: Annotated[str, typer.Argument(help="registered model")] = "reft-student",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """The audit log, verified, and where the aliases stand; an error where the files of what they name are gone."""
    from reft.tracking import promotion
    from reft.tracking.version_files import require_files_of

    entries, aliases = promotion.history(name)
    if as_json:
        found = {
            "name": name,
            "aliases": aliases,
            "entries": [{**asdict(entry), "digest": entry.digest} for entry in entries],
            "warnings": promotion.astray(entries, aliases),
        }
        typer.echo(json.dumps(found, indent=1))
        require_files_of(name, aliases)
        return
    for entry in entries:
        word = "forced" if entry.forced else "passed its gate" if entry.passed else "gate not passed"
        moved = f"{entry.alias}: {entry.before or 'none'} -> {entry.version}"
        typer.echo(f"{entry.number:4} {entry.time} {entry.action:8} {moved} by {entry.by} ({word}) {entry.reason}")
    typer.echo(f"{len(entries)} entries, the chain is whole; " + ", ".join(f"{a}: {v}" for a, v in aliases.items()))
    for warning in promotion.astray(entries, aliases):
        typer.echo(f"warning: {warning}", err=True)
    if entries:
        typer.echo(f"newest digest, to be kept elsewhere: {entries[-1].digest}")
    require_files_of(name, aliases)


def _print_move(name: str, alias: str, version: str, *, entry: "Entry | None") -> None:
    """The same keys whether anything moved or not; `entry` is the log's, none where it was so already."""
    found = {"name": name, "alias": alias, "version": version, "moved": entry is not None}
    typer.echo(json.dumps({**found, "entry": asdict(entry) if entry else None}))
