"""`reft cache-keys`: what each step's result depends on, and what changed since a run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from reft.errors import ConfigurationError, explain


def add_to(app: typer.Typer) -> None:
    """Make the command part of `reft`."""
    app.command("cache-keys")(cache_keys)


def cache_keys(
    *,
    config: Annotated[Path, typer.Option(help="run configuration")] = Path("zenml.yaml"),
    step: Annotated[str, typer.Option(help="this step alone, with every module, library and file")] = "",
    why: Annotated[str, typer.Option(metavar="RUN", help="a run's name or id, or latest: what changed since")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="every part of every key")] = False,
) -> None:
    """Print each step's key and what it is made of; `--why` says which part changed, so that a step runs again."""
    from reft.config import read_profile
    from reft.keys.stages import stage_keys, stages_of

    settings = read_profile(config)
    from reft.validation.faults import require_none
    from reft.validation.profile import missing  # slow to import: what is wrong with the keys is said before

    require_none(missing(settings))
    keys = stage_keys(settings)
    if step and step not in keys:
        raise ConfigurationError(explain(f"no step {step!r} has a key", "--step", f"one of {', '.join(keys)}"))
    here = [step] if step else stages_of(settings)
    chosen = {name: key for name, key in keys.items() if name in here}
    if why:
        _print_changes({name: key.as_dict() for name, key in chosen.items()}, why, as_json=as_json)
    elif as_json:
        typer.echo(json.dumps({name: {"key": key.digest, **key.as_dict()} for name, key in chosen.items()}, indent=1))
    else:
        for name, key in chosen.items():
            parts = key.as_dict()
            counts = ", ".join(f"{len(found)} {part}" for part, found in parts.items())
            typer.echo(f"{name:16} {key.digest}  {counts}")
            if step:
                for part, found in parts.items():
                    typer.echo("".join(f"  {part}.{item}: {value}\n" for item, value in found.items()), nl=False)


def _print_changes(now: dict[str, Any], run: str, *, as_json: bool) -> None:
    from reft.keys.stages import why_again

    found = why_again(_keys_of_run(run), now)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for name, reasons in found.items():
        typer.echo(f"{name}: {'runs again' if reasons else 'is reused'}" + "".join(f"\n  {r}" for r in reasons))


def _keys_of_run(run: str) -> dict[str, Any]:
    """What the steps of a run were keyed by: ZenML knows, and is asked in a process of its own."""
    command = [sys.executable, "-m", "pipelines.keys", run]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        remedy = "zenml pipeline runs list shows the runs; a run of before version 0.2 has no keys"
        raise ConfigurationError(explain(f"the run cannot be read ({last})", run, remedy))
    return json.loads(done.stdout.splitlines()[-1])
