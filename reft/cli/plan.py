"""`reft plan`: what a run needs of its GPUs, and so many rows of time and pods, before anybody pays for them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reft.cli.options import TEACHER, above_zero

if TYPE_CHECKING:
    from reft.config import Settings

LONGEST = 1_000_000  # tokens of a row: more than any model reads
LEGEND = (
    "\nstates: weights, gradients, optimizer states; kept: of the forward pass; working: buffers of the moment; "
    "all: their sum;\noffloaded: in the main memory of each pod or machine"
)
SIZE = typer.Option(
    help="135m, 360m, 1b, 1.7b, 3b, 8b, 70b, or a folder with config.json; none: model.name of --config where that "
    "is such a folder, else 8b"
)
VALIDATED = typer.Option(callback=above_zero, help="one process's validation; none: as measured")
SCANNED = typer.Option(callback=above_zero, help="one process's scan; none: as measured")


def add_to(app: typer.Typer) -> None:
    """Make the command of this module part of `reft`."""
    app.command()(plan)


def plan(
    model_size: Annotated[str, SIZE] = "",
    gpus: Annotated[int, typer.Option(min=1, help="GPUs on each node")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="machines with so many GPUs each")] = 1,
    *,
    gpu_memory: Annotated[float, typer.Option(callback=above_zero, help="of one GPU, in GiB")] = 80,
    config: Annotated[Path | None, typer.Option(help="a run configuration; none: the default one")] = None,
    tokens: Annotated[int, typer.Option(min=0, max=LONGEST, help="length of a row; 0: the longest allowed")] = 0,
    rows: Annotated[str, typer.Option(help="plan a validation and a scan of so many rows, as 100M")] = "",
    rows_per_second: Annotated[float | None, VALIDATED] = None,
    scan_rows_per_second: Annotated[float | None, SCANNED] = None,
    row_bytes: Annotated[float | None, typer.Option(callback=above_zero, help="of a row; none: as measured")] = None,
    pod_hour: Annotated[float | None, typer.Option(callback=above_zero, help="price of a pod for an hour")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="measure both rates here, and keep them")] = False,
    data: Annotated[str, typer.Option(help="rows to measure on; none: the configuration's data.user")] = "",
    teacher: Annotated[str, TEACHER] = "",
    seconds: Annotated[float, typer.Option(callback=above_zero, help="of measuring each")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
) -> None:
    """Memory on each GPU for every stage, and for the finetune at every ZeRO stage. Needs neither weights nor a GPU.

    With --rows: time, pods, memory and cost of a validation and a scan of so many rows.
    """
    from reft.config import Settings, read_profile

    settings = read_profile(config) if config else Settings()
    if measure or rows:
        from reft.cli import plan_rows

        if measure:
            plan_rows.measure(settings, data, seconds=seconds, teacher=teacher)
        if rows:
            given = rows_per_second, scan_rows_per_second, row_bytes
            plan_rows.plan_of_rows(rows, settings, given=given, price=pod_hour, as_json=as_json)
        return
    own = settings.model.name if config and (Path(settings.model.name) / "config.json").is_file() else "8b"
    sizes: dict[str, Any] = {
        "model_size": model_size or own,
        "gpus": gpus,
        "nodes": nodes,
        "gpu_memory": gpu_memory,
        "tokens": tokens,
    }
    _plan_memory(settings, **sizes, as_json=as_json)


def _plan_memory(
    settings: "Settings", *, model_size: str, gpus: int, nodes: int, gpu_memory: float, tokens: int, as_json: bool
) -> None:
    from reft.plan.shapes import model_config, require_size

    require_size(model_size)
    from reft.plan.memory import GIB, plan_memory, zero_stages_that_fit  # slow to import: what is wrong is said before

    length = tokens or settings.model.max_length
    needs = plan_memory(
        model_config(model_size), settings, gpus, nodes=nodes, tokens=length, answer=max(1, length // 4)
    )
    if as_json:
        typer.echo(json.dumps([{**asdict(need), "gpu": need.gpu} for need in needs], indent=2))
        return
    typer.echo(f"{model_size}, {nodes} x {gpus} GPUs of {gpu_memory:g} GiB, rows of {length} tokens; GiB on each GPU\n")
    typer.echo(f"{'stage':<28}{'states':>8}{'kept':>8}{'working':>9}{'all':>8}{'offloaded':>11}")
    for need in needs:
        parts = (need.states, need.activations, need.working, need.gpu)
        shown = "".join(f"{part / GIB:>{width}.1f}" for part, width in zip(parts, (8, 8, 9, 8), strict=True))
        fits = "" if need.gpu <= gpu_memory * GIB else "  does not fit"
        typer.echo(f"{need.stage:<28}{shown}{need.host / GIB:>11.1f}{fits}")
    typer.echo(LEGEND)
    fitting = zero_stages_that_fit(needs, int(gpu_memory * GIB))
    typer.echo(f"\n{'fits: ' + ', '.join(fitting) if fitting else 'no ZeRO stage fits'}")
    if len(fitting) < sum(need.stage.startswith("finetune") for need in needs):
        typer.echo("less memory: finetuning.gradient_checkpointing, micro_batch_size 1, quantized_base, offload")
