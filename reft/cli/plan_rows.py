"""`reft plan --rows` and `reft plan --measure`: time, pods, memory and cost of so many rows."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from reft.errors import ReftError

if TYPE_CHECKING:
    from reft.config import Settings
    from reft.plan.rows import Rates, RowsNeed

GIB = 2**30


def plan_of_rows(
    rows: str, settings: "Settings", *, given: tuple[float | None, float | None, float | None], price: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Print the plan.

    Args:
        given: rows a second of a validation and of a scan, and bytes of a row, each where the user gave it.
    """
    from reft.plan.rows import Rates, count_of, plan_rows, required

    count, (validated, scanned, size) = count_of(rows), given
    rates = Rates(validated=validated) if validated else Rates.load()
    named = {"scanned": scanned, "row_bytes": size}
    rates = replace(rates, **{name: value for name, value in named.items() if value})
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    needs = plan_rows(count, rates, settings.cluster, processes=cores, price=price)
    if as_json:
        typer.echo(json.dumps({"rates": asdict(rates), "needs": [asdict(need) for need in needs]}, indent=2))
        return
    _print(count, rates, needs)
    for short in required(settings.cluster, needs):
        typer.echo(f"warning: {short}")
    if len(needs) == 1:
        typer.echo("scan: no rate is known; measure it (reft plan --measure) or give --scan-rows-per-second")


def _print(count: int, rates: "Rates", needs: "list[RowsNeed]") -> None:
    scanned = f", {rates.scanned:.1f} scanned" if rates.scanned else ""
    typer.echo(
        f"{count:,} rows of {rates.row_bytes:.0f} bytes; one process: {rates.validated:.0f} validated{scanned} a second"
    )
    typer.echo(f"rates: {rates.measured_on}\n")
    head = ("command", "here", "parts", "pods", "cluster", "GiB a pod", "GiB of disk", "GiB at the end", "cost")
    widths = (10, 15, 8, 6, 15, 13, 13, 16, 10)
    typer.echo("".join(f"{name:<{width}}" for name, width in zip(head, widths, strict=True)))
    for need in needs:
        pod = f"{need.pod_bytes / GIB:.1f}" if need.pod_bytes else "the model's"
        cost = "" if need.cost is None else f"{need.cost:.2f}"
        cells = (
            need.command, _time(need.seconds_here), str(need.parts), str(need.pods), _time(need.seconds), pod,
            f"{need.disk_bytes / GIB:.1f}", f"{need.merging_bytes / GIB:.1f}", cost,
        )  # fmt: skip
        typer.echo("".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)))
    typer.echo("\nat the end: the index of repeats and what is noted of each row, where reft validate was started")


def _time(seconds: float) -> str:
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    return f"{hours:,} h {minutes:02d} min" if hours else f"{minutes} min {int(seconds % 60):02d} s"


def measure(settings: "Settings", data: str, *, seconds: float, teacher: str) -> None:
    """Try a validation and a scan for so many seconds each, and keep the rates.

    Args:
        data: a file with rows like those to come; none: the shipped ones.
    """
    from reft.conversations.formats import column_names
    from reft.models.default_model import resolve_model
    from reft.models.tokenizers import load_tokenizer
    from reft.plan.rows import RATES, Rates
    from reft.scan.rates import machine, rate_of_validation
    from reft.validation.rows import Judge
    from reft.validation.sorting import Rules

    model, file = settings.model, Path(data or str(settings.data.user))
    tokenizer = load_tokenizer(resolve_model(model.name), model.chat_template, model.trust_remote_code)
    judge = Judge(tokenizer=tokenizer, settings=settings.validation, max_length=model.max_length)
    rules = Rules(judge=judge, columns=column_names(settings.data.columns), fix=False)
    validated, size = rate_of_validation(file, rules, seconds)
    typer.echo(f"validate: {validated:.0f} rows a second in one process, rows of {size:.0f} bytes")
    scanned = _scanned(settings, file, seconds, teacher=teacher)
    rates = Rates(validated=validated, scanned=scanned, row_bytes=size, measured_on=f"{machine()}, on {file}")
    rates.save()
    typer.echo(f"kept in {RATES}; next: reft plan --rows 100M")


def _scanned(settings: "Settings", file: Path, seconds: float, *, teacher: str) -> float | None:
    from reft.cli.scan import scorer_inputs
    from reft.filtering.scorers import load_scorer
    from reft.models.hardware import take_gpu
    from reft.scan.rates import rate_of_scan

    try:
        take_gpu(0)
        scorer = load_scorer(settings.filtering.scorer, scorer_inputs(teacher))
        rate = rate_of_scan(file, scorer, settings.filtering, seconds=seconds)
    except ReftError as error:
        typer.echo(f"scan: not measured: {str(error).splitlines()[0]}")
        return None
    typer.echo(f"scan: {rate:.1f} rows a second in one process ({scorer.name})")
    return rate
