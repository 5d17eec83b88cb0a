"""`reft keys`: who may use the service."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from reft.service.service import Service
    from reft.service.tables import ApiKey

STATE = typer.Option(help="folder of the service's state; none: as reft serve")
CONFIG = typer.Option(help="run configuration with a section service; none: the default")
JSON = typer.Option("--json", help="print the result as JSON")
keys = typer.Typer(no_args_is_help=True, help="Keys of the service: create, list, rotate, revoke.")


def add_to(app: typer.Typer) -> None:
    """Make the commands part of `reft`."""
    app.add_typer(keys, name="keys")


def opened(config: Path | None, state: Path | None) -> "Service":
    """The service's state, made where there is none yet."""
    from reft.service.service import open_service
    from reft.service.settings import read_service_settings

    return open_service(read_service_settings(config, state=state))


@keys.command()
def create(
    *,
    organization: Annotated[str, typer.Option(help="whose key: small letters, digits, hyphens")],
    role: Annotated[str, typer.Option(help="customer, reviewer or operator")] = "customer",
    scope: Annotated[list[str] | None, typer.Option(help="some of the role's scopes alone; none: all")] = None,
    note: Annotated[str, typer.Option(help="what it is for")] = "",
    days: Annotated[int, typer.Option(min=0, help="days until it ends; 0: when it is revoked")] = 0,
    from_file: Annotated[
        Path | None, typer.Option(exists=True, help="file of a key made elsewhere; not printed")
    ] = None,
    state: Annotated[Path | None, STATE] = None,
    config: Annotated[Path | None, CONFIG] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Make a key and print it, once: only its digest is kept."""
    from reft.service.clock import now
    from reft.service.keys import create_key

    ends_at = now() + days * 86_400 if days else None
    given = from_file.read_text().strip() if from_file else None
    with opened(config, state).database.writing() as session:
        made, key = create_key(
            session, organization, role, note=note, scopes=tuple(scope or ()), ends_at=ends_at, key=given
        )
    if given:
        typer.echo(f"{made.id} ({made.role} of {organization}) is there")
        return
    _print_new(made, key, organization, as_json=as_json)


@keys.command("list")
def index(
    *,
    organization: Annotated[str, typer.Option(help="one organization's alone; none: all")] = "",
    state: Annotated[Path | None, STATE] = None,
    config: Annotated[Path | None, CONFIG] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """All keys, without themselves."""
    from sqlmodel import col, select

    from reft.service.tables import ApiKey, Organization

    query = select(ApiKey, Organization).join(Organization, col(ApiKey.organization_id) == col(Organization.id))
    if organization:
        query = query.where(col(Organization.name) == organization)
    with opened(config, state).database.reading() as session:
        found = [_shown(key, owner.name) for key, owner in session.exec(query.order_by(col(ApiKey.seq))).all()]
    if as_json:
        typer.echo(json.dumps(found))
        return
    for key in found:
        line = f"{key['id']}  {key['prefix']}...  {key['organization']:20}  {key['role']:9}  {key['state']}"
        typer.echo(f"{line}  {','.join(key['scopes'])}  {key['note']}".rstrip())


@keys.command()
def rotate(
    key: Annotated[str, typer.Argument(help="its id, as reft keys list shows it")],
    *,
    grace_hours: Annotated[int, typer.Option(min=0, help="hours for which the old one works, too")] = 0,
    state: Annotated[Path | None, STATE] = None,
    config: Annotated[Path | None, CONFIG] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Make a key like this one and print it; the old one ends."""
    from reft.service.keys import rotate_key
    from reft.service.tables import Organization

    with opened(config, state).database.writing() as session:
        made, new = rotate_key(session, key, grace=3600 * grace_hours)
        owner = session.get_one(Organization, made.organization_id).name
    _print_new(made, new, owner, as_json=as_json)


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(help="its id, as reft keys list shows it")],
    *,
    state: Annotated[Path | None, STATE] = None,
    config: Annotated[Path | None, CONFIG] = None,
) -> None:
    """End a key at once."""
    from reft.service.keys import revoke_key

    with opened(config, state).database.writing() as session:
        revoke_key(session, key)
    typer.echo(f"{key}: revoked")


def _print_new(made: "ApiKey", key: str, organization: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**_shown(made, organization), "key": key}))
        return
    typer.echo(key)
    typer.echo(f"{made.id} ({made.role} of {organization}): keep the key now, it is shown only once", err=True)


def _shown(key: "ApiKey", organization: str) -> dict[str, Any]:
    state = "active"
    if key.revoked_at is not None:
        state = "revoked"
    elif key.ends_at is not None:
        state = "ended" if key.ends_at <= time.time() else f"until {time.strftime('%F %R', time.gmtime(key.ends_at))}"
    return {
        "id": key.id, "prefix": key.prefix, "organization": organization, "role": key.role, "scopes": key.scopes,
        "state": state, "note": key.note, "created_at": key.created_at,
    }  # fmt: skip
