"""`reft evaluate`: a registered version judged anew, on today's rows by today's code."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Make the command part of `reft`."""
    app.command()(evaluate)


def evaluate(
    *,
    config: Annotated[Path, typer.Option(help="run configuration: the rows, and the registered name")] = Path(
        "zenml.yaml"
    ),
    version: Annotated[str, typer.Option(help="a number, or an alias: champion, challenger, candidate")] = "champion",
    as_json: Annotated[bool, typer.Option("--json", help="print the rates as JSON")] = False,
) -> None:
    """Judge a registered version anew and keep that with it, so that the gate compares like with like."""
    from reft.config import read_profile
    from reft.evaluation.measures import MEASURES
    from reft.keys.stages import EVALUATION
    from reft.report.summary import percent
    from reft.tracking.evaluating import evaluate_version
    from reft.validation.faults import require_none
    from reft.validation.profile import missing

    settings = read_profile(config)
    read = {"model.name", "model.chat_template", "data.task_test", *(f"data.{name}" for name in EVALUATION)}
    require_none([fault for fault in missing(settings) if fault.setting in read])
    found = evaluate_version(settings, version)
    rates = {name: asdict(rate) if rate else None for name, rate in found.scores.rates.items()}
    if as_json:
        typer.echo(json.dumps({"name": found.name, "version": found.version, "rows": found.rows, "rates": rates}))
        return
    typer.echo(f"{found.name} version {found.version}, kept with it:")
    for measure in MEASURES:
        typer.echo(f"  {measure.label:20}{percent(rates.get(measure.name))}")
