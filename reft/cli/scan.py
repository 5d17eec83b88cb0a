"""`reft scan`: the filter alone, on a file."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reft.cli.options import COLUMNS, DEFAULT_TEACHER, FPR, ROWS, SPLIT, TEACHER, a_share
from reft.storage.artifacts import whole

if TYPE_CHECKING:
    from reft.config import Settings
    from reft.filtering.inputs import ScorerInputs
    from reft.scan.result import ScanResult

GUARD_KIND = typer.Option(help="llama-guard, shieldgemma, granite-guardian or wildguard")
QUARANTINE_FPR = typer.Option(callback=a_share, help="share of harmless rows that may be removed in all")
RECALL = typer.Option(callback=a_share, help="share of harmful rows to remove at least")
MAX_EXPANSION = typer.Option(min=1, help="times its size that a compressed file may hold; none: as in a run")
MAX_EXPANDED_MB = typer.Option(min=1, help="most megabytes that packed files may hold; none: as in a run")
# The guard's own options, as they are called in `filtering.scorer_settings`.
GUARD = {"guard": "model", "guard_kind": "kind", "guard_template": "template"}


def add_to(app: typer.Typer) -> None:
    """Make the command part of `reft`."""
    app.command()(scan)


def scan(
    context: typer.Context,
    data: Annotated[str, ROWS],
    *,
    out: Annotated[str, typer.Option(help="folder for the sorted rows and the decisions")] = "scanned",
    columns: Annotated[str, COLUMNS] = "",
    split: Annotated[str, SPLIT] = "",
    teacher: Annotated[str, TEACHER] = "",
    scorer: Annotated[str, typer.Option(help="what scores the rows, as filtering.scorer; guard with --guard")] = "",
    guard: Annotated[str, typer.Option(help="score with a guard model instead: its folder or hub id")] = "",
    guard_kind: Annotated[str, GUARD_KIND] = "llama-guard",
    guard_template: Annotated[Path | None, typer.Option(help="Jinja file with the guard's prompt")] = None,
    fpr: Annotated[float, FPR] = 0.01,
    quarantine_fpr: Annotated[float, QUARANTINE_FPR] = 0.05,
    recall: Annotated[float | None, RECALL] = None,
    max_expansion: Annotated[int | None, MAX_EXPANSION] = None,
    max_expanded_mb: Annotated[int | None, MAX_EXPANDED_MB] = None,
    fail_on_alarms: Annotated[bool, typer.Option(help="stop where the rows as a whole look wrong")] = False,
    overrides: Annotated[Path | None, typer.Option(help="JSONL of decisions that people made")] = None,
    report: Annotated[Path | None, typer.Option(help="where the HTML report goes; else into the folder")] = None,
    processes: Annotated[int, typer.Option(min=1, help="processes that share the work, one a GPU")] = 1,
    cluster: Annotated[
        Path | None, typer.Option(help="run configuration: its cluster shares the work; s3:// in and out: in parts")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> None:
    """Sort a file's rows into kept, quarantined and dropped; exits with 3 if a row was removed.

    Killed and started again, it resumes. Under torchrun, too, the processes share the work; it then
    exits with 0, since torchrun takes every other status for a crash. Exits with 4 if a part of an
    input on a cluster could not be read: the rest was scanned.
    """
    given = context.params
    if "://" in out:
        raise typer.Exit(_in_parts(given))
    if cluster is not None:
        raise typer.Exit(_on_cluster(given))
    result = _scan_here(given)
    if result is None:  # another process has the results
        return
    page = report or Path(out, "report.html")
    _write_page(result, data, page)
    _print(result, whole(data), whole(out), page=whole(str(page)), as_json=as_json)
    raise typer.Exit(0 if result.clean or "TORCHELASTIC_RUN_ID" in os.environ else 3)


def _scan_here(given: dict[str, Any]) -> "ScanResult | None":
    """As one of the processes that share the work, or as the one that starts them."""
    from reft.conversations.formats import column_names
    from reft.filtering.overrides import read_overrides
    from reft.filtering.scorers import load_scorer
    from reft.models.hardware import take_gpu
    from reft.runtime.processes import end_with_launcher, run_in_processes
    from reft.runtime.progress import progress
    from reft.scan.scan import scan_file
    from reft.storage.artifacts import scratch_folder
    from reft.storage.files import local_copy

    data = given["data"]
    file = local_copy(data, scratch_folder("input"))
    if given["processes"] > 1 and "RANK" not in os.environ:
        arguments = [str(file) if a == data else a for a in sys.argv[1:]]
        raise typer.Exit(run_in_processes("reft.cli", arguments, given["processes"]))
    end_with_launcher()
    take_gpu(int(os.environ.get("LOCAL_RANK", "0")))
    parsed = _parsed(given)
    settings = parsed.filtering
    inputs = scorer_inputs(given["teacher"], settings.scorer_settings)
    return scan_file(
        file,
        Path(given["out"]),
        load_scorer(settings.scorer, inputs),
        settings=settings,
        overrides=read_overrides(given["overrides"]) if given["overrides"] else {},
        rank=int(os.environ.get("RANK", "0")),
        processes=int(os.environ.get("WORLD_SIZE", "1")),
        report=progress(f"scanning {file.name}", unit="rows"),
        columns=column_names(given["columns"]),
        split=given["split"],
        limits=parsed.validation,
        calibrations=_calibrations(given["teacher"]),
    )


def _parsed(given: dict[str, Any]) -> "Settings":
    """The settings that the options stand for."""
    from reft.config import parse_settings

    chosen = {name: given[name] for name in ("fpr", "quarantine_fpr", "recall", "fail_on_alarms")}
    limits = {name: given[name] for name in ("max_expansion", "max_expanded_mb") if given[name]}
    return parse_settings({"filtering": {**chosen, **_scorer(given)}, "validation": limits})


def _calibrations(teacher: str) -> Path:
    """Beside the teacher, whose own folder stays as it is."""
    from reft.filtering.provider import calibrations_beside

    folder = Path(teacher or DEFAULT_TEACHER)
    return calibrations_beside(folder) if folder.is_dir() else Path(".reft/calibration")


def _scorer(given: dict[str, Any]) -> dict[str, Any]:
    """The scorer and its settings."""
    if given["guard"]:
        options = {GUARD[name]: str(given[name]) for name in GUARD if given[name]}
        return {"scorer": "guard", "scorer_settings": options}
    return {"scorer": given["scorer"]} if given["scorer"] else {}


def scorer_inputs(teacher: str, options: dict[str, Any] | None = None) -> "ScorerInputs":
    """The teacher in a folder (the last run's by default), or "none": the untrained feature of the default profile."""
    from dataclasses import replace

    from reft.config import Settings
    from reft.filtering.inputs import read_inputs, untrained_inputs

    folder = _teacher(teacher, options)
    inputs = read_inputs(folder) if folder else untrained_inputs(Settings())
    return replace(inputs, options=options or {})


def _teacher(teacher: str, options: dict[str, Any] | None) -> Path | None:
    """Its folder, where one is needed."""
    needed = teacher != "none" and (teacher or not options or DEFAULT_TEACHER.is_dir())
    return Path(teacher or DEFAULT_TEACHER) if needed else None


def _on_cluster(given: dict[str, Any]) -> int:
    """The same command, as it was given, as a TrainJob; its exit status."""
    from reft.cluster.scan import scan_on_cluster
    from reft.config import read_profile

    here = ("data", "out", "cluster", "processes", "as_json")  # given otherwise there, or of no use
    others = {name.replace("_", "-"): value for name, value in given.items() if name not in here}
    options = [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in others.items()
        if value not in ("", None, False)
    ]
    data, profile = given["data"], read_profile(given["cluster"])
    result = scan_on_cluster(data, Path(given["out"]), options, settings=profile.cluster)
    counts = ", ".join(f"{count} {name}" for name, count in result["counts"].items())
    typer.echo(json.dumps(result) if given["as_json"] else f"{data}: {result['rows']} rows: {counts}")
    return 3 if result["counts"]["dropped"] + result["counts"]["quarantined"] else 0


def _in_parts(given: dict[str, Any]) -> int:
    """Parts of an input in a store as an Indexed Job; the exit status."""
    from reft.cluster.scan_in_parts import ScanRequest, scan_in_parts
    from reft.config import read_profile
    from reft.conversations.formats import column_names
    from reft.errors import ConfigurationError, explain
    from reft.filtering.overrides import read_overrides
    from reft.runtime.progress import progress
    from reft.storage.artifacts import scratch
    from reft.storage.store import Store

    data, out = given["data"], given["out"]
    if given["cluster"] is None:
        remedy = "name a cluster's run configuration with --cluster, or a folder with --out"
        raise ConfigurationError(explain("only a cluster's pods write to an address", f"--out {out}", remedy))
    parsed = _parsed(given)
    request = ScanRequest(
        filtering=parsed.filtering, teacher=_teacher(given["teacher"], parsed.filtering.scorer_settings),
        overrides=read_overrides(given["overrides"]) if given["overrides"] else {},
        columns=column_names(given["columns"]), split=given["split"], limits=parsed.validation,
    )  # fmt: skip
    cluster = read_profile(given["cluster"]).cluster
    result = scan_in_parts(data, out, request, settings=cluster, report=progress(f"scanning {data}"))
    page = str(given["report"] or f"{out.rstrip('/')}/report.html")
    with scratch("page") as folder:
        _write_page(result, data, local := given["report"] or folder / "report.html")
        if not given["report"]:
            Store(out).put(local, "report.html")
    _print(result, whole(data), whole(out), page=whole(page), as_json=given["as_json"])
    return 4 if result.unread_parts else 0 if result.clean else 3


def _write_page(result: "ScanResult", data: str, page: Path) -> None:
    from reft.report.scan import render_scan
    from reft.storage.artifacts import write_text

    groups = {"scanned rows": result.scores.tolist(), "harmless calibration": result.calibration}
    write_text(
        page,
        render_scan(
            Path(data).name, result.as_dict(), groups, thresholds=result.thresholds, examples=result.examples
        ),
    )  # fmt: skip


def _print(result: "ScanResult", data: str, out: str, *, page: str, as_json: bool) -> None:
    """A few lines or JSON."""
    if as_json:
        typer.echo(json.dumps(result.as_dict()))
        return
    counts = ", ".join(f"{count} {name}" for name, count in result.counts.items())
    typer.echo(f"{data}: {result.rows} rows: {counts}\n" + "".join(f"warning: {w}\n" for w in result.warnings))
    for part in result.unread_parts:
        where = f"{part['key']}, bytes {part['offset']} to {part['end']}"
        typer.echo(f"not read: {where}: {part['what']}: {part['remedy']}")
    decisions = f"{out.rstrip('/')}/decisions" + ("" if "://" in out else ".jsonl")
    typer.echo(f"report:    {page}\ndecisions: {decisions}")
