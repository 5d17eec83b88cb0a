"""The command line: `reft ...`. Heavy libraries are imported inside the commands, so that help is quick."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from reft import cli_plan, cli_registry
from reft.errors import ReftError

COLUMNS = "prompt and answer column, as question,reply; none: told by the keys"
app = typer.Typer(no_args_is_help=True, add_completion=False, help="Safe finetuning on data nobody has vetted.")


cli_registry.add_to(app)
cli_plan.add_to(app)


@app.command("fetch-model")
def fetch_model() -> None:
    """Download, check and convert the default model (once per user)."""
    from reft.models.default_model import cache_folder, fetch_default_model

    there = (cache_folder() / "model.safetensors").is_file()
    folder = fetch_default_model()
    typer.echo(f"default model {'is there already' if there else 'fetched'}: {folder}")


@app.command("check-config")
def check_config(profile: Annotated[Path, typer.Argument(help="a run configuration")] = Path("zenml.yaml")) -> None:
    """Read a run configuration and say whether every setting is right."""
    from reft.config import read_profile

    read_profile(profile)
    typer.echo(f"{profile}: every setting is right")


@app.command("write-config")
def write_config(profile: Annotated[Path, typer.Argument(help="a new file")] = Path("mine.yaml")) -> None:
    """Write a run configuration with every knob at its default, to start from; never overwrites a file."""
    from reft.artifacts import write_text
    from reft.errors import ConfigurationError, explain
    from reft.profile import render_profile

    if profile.exists():
        raise ConfigurationError(explain("the file is there already", str(profile), "name a new one"))
    write_text(profile, render_profile())
    typer.echo(f"{profile}: written; then run zenml pipeline run reft_pipeline --config {profile}")


@app.command()
def show(folder: Annotated[Path, typer.Argument(help="folder of a run")] = Path("runs/latest")) -> None:
    """Print a run's result table and where its report lies."""
    from reft.artifacts import read_json
    from reft.report.summary import table

    summary = read_json(folder / "summary.json")
    student = summary["models"]["student"]
    typer.echo(table(summary))
    typer.echo(f"\nreport:   {folder / 'report.html'}")
    typer.echo(f"student:  {student['path']} (MLflow: {student['registered_name']} version {student['version']})")
    typer.echo("MLflow:   make mlflow   then open http://127.0.0.1:5000")
    typer.echo("ZenML:    make zenml    then open http://127.0.0.1:8237")


@app.command()
def scan(
    context: typer.Context,
    data: Annotated[str, typer.Argument(help="rows of any kind: a file, a folder of shards, s3://... or a hub id")],
    out: Annotated[Path, typer.Option(help="folder for the sorted rows and the decisions")] = Path("scanned"),
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    teacher: Annotated[str, typer.Option(help="folder of a teacher, or none: the untrained difference of means")] = "",
    guard: Annotated[str, typer.Option(help="score with a guard model instead: its folder or hub id")] = "",
    guard_kind: Annotated[
        str, typer.Option(help="llama-guard, shieldgemma, granite-guardian or wildguard")
    ] = "llama-guard",
    guard_template: Annotated[Path | None, typer.Option(help="Jinja file with the guard's prompt")] = None,
    fpr: Annotated[float, typer.Option(help="share of harmless rows that may be dropped")] = 0.01,
    quarantine_fpr: Annotated[float, typer.Option(help="share of harmless rows that may be removed in all")] = 0.05,
    recall: Annotated[float | None, typer.Option(help="share of harmful rows to remove at least")] = None,
    fail_on_alarms: Annotated[bool, typer.Option(help="stop where the rows as a whole look wrong")] = False,
    overrides: Annotated[Path | None, typer.Option(help="JSONL of decisions that people made")] = None,
    report: Annotated[Path | None, typer.Option(help="where the HTML report goes; else into the folder")] = None,
    processes: Annotated[int, typer.Option(min=1, help="processes that share the work, one a GPU")] = 1,
    cluster: Annotated[Path | None, typer.Option(help="run configuration: its cluster's nodes share the work")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> None:
    """Sort a file's rows into kept, quarantined and dropped; exits with 3 if a row was removed.

    Killed and started again, it goes on where it was. Under torchrun, too, the processes share the work; it then
    exits with 0, since torchrun takes every other status for a crash.
    """
    import os
    import sys

    from reft.artifacts import scratch_folder, write_text
    from reft.config import parse_settings
    from reft.conversations.forms import column_names
    from reft.files import local_copy
    from reft.filtering.overrides import read_overrides
    from reft.models.hardware import take_gpu
    from reft.processes import end_with_launcher, run_in_processes
    from reft.progress import progress
    from reft.report.scan import render_scan
    from reft.scan import scan_file

    if cluster is not None:
        raise typer.Exit(_scan_on_cluster(context.params))
    file = local_copy(data, scratch_folder("input"))
    if processes > 1 and "RANK" not in os.environ:
        raise typer.Exit(run_in_processes(processes, [str(file) if a == data else a for a in sys.argv[1:]]))
    end_with_launcher()
    rank, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    take_gpu(int(os.environ.get("LOCAL_RANK", "0")))
    chosen = {"fpr": fpr, "quarantine_fpr": quarantine_fpr, "recall": recall, "fail_on_alarms": fail_on_alarms}
    settings = parse_settings({"filter": chosen}).filter
    decided = read_overrides(overrides) if overrides else {}
    scorer = _guard(guard, guard_kind, guard_template) if guard else _scorer(teacher)
    show = progress(f"scanning {file.name}")
    result = scan_file(file, out, scorer, settings, decided, rank, processes, show, column_names(columns))
    if result is None:  # another process has the results
        return
    page = report or out / "report.html"
    groups = {"scanned rows": result.scores.tolist(), "harmless calibration": result.calibration}
    write_text(page, render_scan(file.name, result.as_dict(), groups, result.thresholds, result.examples))
    if as_json:
        typer.echo(json.dumps(result.as_dict()))
    else:
        counts = ", ".join(f"{count} {name}" for name, count in result.counts.items())
        typer.echo(f"{data}: {result.rows} rows: {counts}\n" + "".join(f"warning: {w}\n" for w in result.warnings))
        typer.echo(f"report:    {page}\ndecisions: {out / 'decisions.jsonl'}")
    raise typer.Exit(0 if result.clean or "TORCHELASTIC_RUN_ID" in os.environ else 3)


@app.command()
def validate(
    data: Annotated[str, typer.Argument(help="rows of any kind: a file, a folder of shards, s3://... or a hub id")],
    out: Annotated[Path, typer.Option(help="folder for the sorted rows and the findings")] = Path("validated"),
    config: Annotated[Path | None, typer.Option(help="a run configuration: its model and validation sections")] = None,
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    rules: Annotated[str, typer.Option(help="any, or openai: its own upload rules")] = "",
    fix: Annotated[
        bool, typer.Option("--fix", help="mend what can be mended without guessing; each mending is logged")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> None:
    """Check a file row by row before anything is trained on it; exits with 3 if a row was quarantined."""
    from dataclasses import asdict

    from reft.artifacts import scratch_folder
    from reft.config import Settings, parse_settings, read_profile
    from reft.conversations.forms import column_names
    from reft.files import local_copy
    from reft.models.default_model import resolve_model
    from reft.models.loading import load_tokenizer
    from reft.progress import progress
    from reft.validation.file import validate_file

    run = read_profile(config) if config else Settings()
    changed = {**run.validation.model_dump(), **({"rules": rules} if rules else {})}
    settings = parse_settings({"validation": changed}).validation
    model = run.model
    tokenizer = load_tokenizer(resolve_model(model.name), model.chat_template, model.trust_remote_code)
    file = local_copy(data, scratch_folder("input"))
    names = column_names(columns or run.data.columns)
    held_out = Path(run.data.task_test) if config and run.data.task_test else None
    found = validate_file(
        file, out, tokenizer, settings, model.max_length, names, fix, held_out, progress(f"checking {file.name}")
    )
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        typer.echo(f"{data}: {found.rows} rows ({found.kind}): {found.usable} usable, {found.quarantined} quarantined")
        for bad in found.first:
            typer.echo(f"  row {bad['row']}: {bad['rule']} at {bad['field']}: {bad['remedy']}")
        for check in found.checks:
            if not check["passed"]:
                typer.echo(f"{check['severity']}: {check['rule']} fails")
        typer.echo(f"findings:  {out / 'findings.jsonl'}\npages:     {out / 'docs' / 'index.html'}")
    if found.fails:
        typer.echo(found.fails, err=True)
        raise typer.Exit(2)
    raise typer.Exit(3 if found.quarantined else 0)


benchmark = typer.Typer(no_args_is_help=True, help="Measure the product on this machine.")
app.add_typer(benchmark, name="benchmark")


@benchmark.command()
def attacks(
    teacher: Annotated[str, typer.Option(help="folder of a teacher, or none: the untrained difference of means")] = "",
    rows: Annotated[int, typer.Option(help="harmful prompts under each attack")] = 100,
    adaptive_rows: Annotated[int, typer.Option(help="harmful prompts of the adaptive attack, the slow one")] = 20,
    fpr: Annotated[float, typer.Option(help="share of harmless rows that may be dropped")] = 0.01,
    out: Annotated[Path | None, typer.Option(help="also write the results as JSON")] = None,
) -> None:
    """Disguise unseen harmful prompts in every way we know and count what the filter still removes."""
    from reft.artifacts import write_json
    from reft.attacks.measure import measure_attacks
    from reft.config import Settings, parse_settings
    from reft.conversations.reading import read_conversations
    from reft.progress import progress
    from reft.report.summary import percent

    data, settings = Settings().data, parse_settings({"filter": {"fpr": fpr}}).filter
    harmful = read_conversations(data.evaluation_harmful, rows)
    harmless = read_conversations(data.evaluation_ordinary)
    scorer = _scorer(teacher)
    results = measure_attacks(scorer, harmful, harmless, settings, adaptive_rows, progress("attacking"))
    typer.echo(f"| attack ({scorer.name} feature) | removed | dropped |\n| --- | --- | --- |")
    for result in results:
        typer.echo(f"| {result.attack} | {percent(vars(result.removed))} | {percent(vars(result.dropped))} |")
    if out:
        write_json(out, {"scorer": scorer.name, "fpr": fpr, "attacks": results})


@benchmark.command()
def evidence(
    config: Annotated[Path, typer.Option(help="YAML of the grid")] = Path("benchmarks/evidence_core.yaml"),
    out: Annotated[Path, typer.Option(help="where results go, and a stopped grid goes on")] = Path(".reft/evidence"),
    so_far: Annotated[bool, typer.Option("--so-far", help="train nothing: write the page of what is there")] = False,
) -> None:
    """Compare ReFT with other ways to finetune, on the same rows and seeds; hours on a laptop, resumable.

    Started more than once with the same folder, on one machine or several, the processes share the cells.
    """
    from reft.evidence.run import run_evidence

    run_evidence(config, out, so_far)
    typer.echo((out / "evidence.md").read_text())
    typer.echo(f"page: {out / 'evidence.html'}")


def _scan_on_cluster(given: dict[str, Any]) -> int:
    """The same command, as it was given, as a TrainJob; its exit status."""
    from reft.cluster.scan import scan_on_cluster
    from reft.config import read_profile

    here = ("data", "out", "cluster", "processes", "as_json")  # said otherwise there, or of no use
    said = {name.replace("_", "-"): value for name, value in given.items() if name not in here}
    options = [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in said.items()
        if value not in ("", None, False)
    ]
    data, profile = given["data"], read_profile(given["cluster"])
    found = scan_on_cluster(data, given["out"], options, profile.cluster)
    counts = ", ".join(f"{count} {name}" for name, count in found["counts"].items())
    typer.echo(json.dumps(found) if given["as_json"] else f"{data}: {found['rows']} rows: {counts}")
    return 3 if found["counts"]["dropped"] + found["counts"]["quarantined"] else 0


def _scorer(teacher: str):
    """The teacher in a folder (the last run's by default), or the untrained feature of the default profile."""
    from reft.config import Settings
    from reft.scorer import DEFAULT_TEACHER, load_scorer, untrained_scorer

    if teacher == "none":
        return untrained_scorer(Settings())
    return load_scorer(Path(teacher) if teacher else DEFAULT_TEACHER)


def _guard(name: str, kind: str, template: Path | None):
    from reft.config import Settings
    from reft.scorer import guard_scorer

    return guard_scorer(name, kind, str(template) if template else None, Settings())


def main() -> None:
    """Entry point: a user's error is printed without a traceback and exits with 2."""
    try:
        app()
    except ReftError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
