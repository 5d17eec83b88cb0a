"""`reft validate`: the checks on a file, without a run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reft.cli.options import COLUMNS, ROWS, SPLIT
from reft.storage.artifacts import whole

if TYPE_CHECKING:
    from reft.validation.file import FileReport
    from reft.validation.sorting import Rules


def add_to(app: typer.Typer) -> None:
    """Make the command part of `reft`."""
    app.command()(validate)


def validate(
    data: Annotated[str, ROWS],
    *,
    out: Annotated[str, typer.Option(help="folder for the sorted rows and the findings")] = "validated",
    config: Annotated[Path | None, typer.Option(help="a run configuration: its model and validation sections")] = None,
    columns: Annotated[str, COLUMNS] = "",
    split: Annotated[str, SPLIT] = "",
    rules: Annotated[str, typer.Option(help="any, or openai: its own upload rules")] = "",
    fix: Annotated[
        bool, typer.Option("--fix", help="mend what can be mended without guessing; each mending is logged")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="processes that share a long file; none given: one for each core")
    ] = None,
    cluster: Annotated[
        Path | None, typer.Option(help="run configuration: its cluster's pods share the work; s3:// in and out")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> None:
    """Check a file row by row before anything is trained on it; exits with 3 if a row was quarantined.

    Killed and started again, it resumes. Exits with 4 if a part of the input could not be read: the rest was checked.
    """
    changed = {"rules": rules} if rules else {}
    given = {"columns": columns, "split": split, "changed": changed, "fix": fix}
    report = _checked(data, out, config or cluster, cluster=cluster, processes=processes, **given)
    _print(report, whole(data), whole(out), as_json=as_json)
    if report.fails:
        typer.echo(report.fails, err=True)
        raise typer.Exit(2)
    raise typer.Exit(4 if report.unread_parts else 3 if report.quarantined else 0)


def _checked(
    data: str,
    out: str,
    config: Path | None,
    *,
    cluster: Path | None,
    columns: str,
    split: str,
    changed: dict[str, str],
    fix: bool,
    processes: int | None,
) -> "FileReport":
    from reft.config import Settings, parse_settings, read_profile
    from reft.runtime.progress import progress
    from reft.runtime.without_torch import without_torch
    from reft.storage.artifacts import scratch_folder
    from reft.storage.files import local_copy

    with without_torch():
        from reft.conversations.formats import column_names
        from reft.models.default_model import resolve_model
        from reft.models.tokenizers import load_tokenizer
        from reft.validation.file import validate_file
        from reft.validation.rows import Judge
        from reft.validation.sorting import Rules
        from reft.validation.validate import prompts_of

    run = read_profile(config) if config else Settings()
    settings, model = parse_settings({"validation": {**run.validation.model_dump(), **changed}}).validation, run.model
    with without_torch():
        tokenizer = load_tokenizer(resolve_model(model.name), model.chat_template, model.trust_remote_code)
    held_out = Path(run.data.task_test) if config and run.data.task_test else None
    names, split = column_names(columns or run.data.columns), split or run.data.split or ""
    if cluster:
        judge = Judge(tokenizer=tokenizer, settings=settings, max_length=model.max_length)
        rules = Rules(judge=judge, columns=names, fix=fix, held_out=prompts_of(held_out, limits=settings))
        return _on_cluster(data, out, rules, profile=cluster, split=split)
    file = local_copy(data, scratch_folder("input"))
    return validate_file(
        file, Path(out), tokenizer, settings=settings, max_length=model.max_length, columns=names, split=split, fix=fix,
        held_out=held_out, report=progress(f"checking {file.name}", unit="lines"), processes=processes,
    )  # fmt: skip


def _on_cluster(data: str, out: str, rules: "Rules", *, profile: Path, split: str) -> "FileReport":
    from reft.cluster.validation import validate_on_cluster
    from reft.config import read_profile
    from reft.runtime.progress import progress

    settings = read_profile(profile).cluster
    return validate_on_cluster(data, out, rules, settings=settings, split=split, report=progress(f"checking {data}"))


def _print(report: "FileReport", data: str, out: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(report)))
        return
    rows = f"{report.rows} rows ({report.kind}): {report.usable} usable, {report.quarantined} quarantined"
    rows += f", {report.left_out} left out by their own word" if report.left_out else ""
    rows += f"; {report.blank} blank lines" if report.blank else ""
    typer.echo(f"{data}: {rows}")
    if report.note:
        typer.echo(f"note: {report.note}")
    for part in report.unread_parts:
        where = f"{part['key']}, bytes {part['offset']} to {part['end']}"
        typer.echo(f"not read: {where}: {part['what']}: {part['remedy']}")
    for bad in report.first:
        typer.echo(f"  row {bad['row']}: {bad['rule']} at {bad['field']}: {bad['remedy']}")
    if report.usable and report.too_few:
        typer.echo("warning: usable, too few to train (validation.min_rows)")
    if report.unseen:
        typer.echo(
            f"ended early: {report.unseen} lines more were not looked at (raise validation.max_bad_share to go on)"
        )
    for rule, count in report.unlisted.items():
        typer.echo(f"note: {count} more findings of {rule} are counted, not listed (validation.max_findings)")
    for name, count in report.unread.items():
        typer.echo(f"warning: field {name} is not read ({count} rows): it is scored and not learnt")
    for check in report.checks:
        if not check["passed"]:
            typer.echo(f"{check['severity']}: {check['rule']} fails: {check['remedy']}")
    typer.echo(f"findings:  {out}/findings.jsonl\npages:     {out}/docs/index.html")
