"""`reft audit`: a finished student, asked what an attacker would have taught it."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reft.cli.options import COLUMNS, DEFAULT_TEACHER, SPLIT

if TYPE_CHECKING:
    from reft.conversations.schema import Conversation


def add_to(app: typer.Typer) -> None:
    """Make the command part of `reft`."""
    app.command()(audit)


def audit(
    student: Annotated[
        str, typer.Argument(help="folder of a student, or a registered version: a number or an alias")
    ] = "runs/latest/student",
    *,
    config: Annotated[
        Path, typer.Option(help="run configuration: the prompts, how much, the training, the registered name")
    ] = Path("zenml.yaml"),
    teacher: Annotated[Path, typer.Option(help="folder of the teacher that it is held against")] = DEFAULT_TEACHER,
    rows: Annotated[str, typer.Option(help="the rows that it was trained on, to mine triggers from; none: not")] = "",
    columns: Annotated[str, COLUMNS] = "",
    split: Annotated[str, SPLIT] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print the audit as JSON")] = False,
) -> None:
    """Ask a student harmful prompts in many forms and hold it against its teacher; exits with 3 if it is flagged."""
    from reft.audit.benign import benign_jobs
    from reft.audit.run import Finished, audit_finished, kept_reference
    from reft.config import read_profile
    from reft.errors import PromotionError, explain
    from reft.filtering.inputs import read_inputs
    from reft.tracking.promotion import ALIASES
    from reft.tracking.registry import files_of, version_at

    settings = read_profile(config)
    benign, inputs = benign_jobs(settings.data), read_inputs(teacher)
    name = settings.tracking.registered_name
    number = version_at(name, student) if student in ALIASES else student
    if inputs.teacher is None or not (Path(student).is_dir() or number):
        raise PromotionError(explain(f"no version is the {student}", name, "name a folder or a version's number"))
    own = _rows(rows, columns=columns, split=split)
    with nullcontext(Path(student)) if Path(student).is_dir() else files_of(name, str(number)) as folder:
        is_adapter = (folder / "adapter_config.json").is_file()
        finished = Finished(weights=folder, is_adapter=is_adapter, rows=own, training=settings.finetuning)
        reference = kept_reference(
            inputs.teacher, inputs.model, settings.data, settings=settings.audit,
            kept_in=teacher.with_name(f"{teacher.name}-audit"),  # beside the teacher, whose own folder stays as it is
        )  # fmt: skip
        found = audit_finished(
            finished, reference, inputs.model, data=settings.data, settings=settings.audit, benign=benign
        )
    seconds = ", ".join(f"{what} {took:.1f} s" for what, took in found.seconds.items())
    typer.echo(json.dumps(found.as_dict()) if as_json else f"{found.words}\nasking took: {seconds}")
    raise typer.Exit(3 if found.alarm else 0)


def _rows(rows: str, *, columns: str, split: str) -> "list[Conversation]":
    """The rows that can be read; what a run would quarantine was not trained on."""
    from reft.conversations.formats import column_names
    from reft.conversations.reading import read_rows
    from reft.conversations.schema import Conversation
    from reft.storage.artifacts import scratch_folder
    from reft.storage.files import local_copy

    if not rows:
        return []
    file = local_copy(rows, scratch_folder("input"))
    return [row for row in read_rows(file, columns=column_names(columns), split=split) if isinstance(row, Conversation)]
