"""The files that a job leaves to its owner: the training's metrics and the decision table."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlmodel import Session, col, select

from reft.filtering.screening import Screening
from reft.service.files import RESULTS, NewFile, keep_file
from reft.service.jobs import states
from reft.service.jobs.held import HeldJob, LostJob, lease_of
from reft.service.jobs.leases import take
from reft.service.tables import Job, StoredFile

METRICS, DECISIONS, GOLDEN = "step_metrics.csv", "decisions.jsonl", "golden_answers.jsonl"
COLUMNS = ("row", "decision", "score", "threshold", "reason", "where", "span")


class KeptBefore(Exception):
    """The job has this file already."""


def keep_metrics(held: HeldJob, history: list[dict[str, Any]]) -> None:
    """The losses by step, as OpenAI's result file begins."""
    names = [name for name in history[0] if name not in ("step", "steps", "loss")]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["step", "train_loss", *names])
    for line in history:
        table.writerow([line["step"], line["loss"], *(line[name] for name in names)])
    _keep(held, METRICS, [text.getvalue().encode()])


def keep_decisions(held: HeldJob, found: Screening) -> None:
    """A line for every row of the training file: what was decided, and by what."""
    _keep(held, DECISIONS, _lines(found))


def keep_golden(held: HeldJob, lines: list[dict[str, Any]]) -> None:
    """A line for each of the validation file's first rows: what was answered before the training, and after it."""
    _keep(held, GOLDEN, [(json.dumps(line) + "\n").encode() for line in lines], of="validation_file")


def _lines(found: Screening) -> Iterator[bytes]:
    for row in found.rows:
        yield (json.dumps({name: row[name] for name in COLUMNS}) + "\n").encode()


def _keep(held: HeldJob, name: str, pieces: Iterable[bytes], *, of: str = "training_file") -> None:
    """Once for each name, however often the work is done.

    Args:
        of: which of the job's files it tells of.
    """
    job = held.look()
    if name in job.work.get("results", {}):
        return
    new = NewFile(
        organization_id=job.organization_id, filename=f"{job.id}-{name}", purpose=RESULTS,
        derived_from=getattr(job, of),
    )  # fmt: skip
    try:
        keep_file(held.service, new, pieces, room=False, also=_naming(held, name))
    except KeptBefore:
        return


def _naming(held: HeldJob, name: str) -> Callable[[Session, StoredFile], None]:
    """The file becomes the job's in the moment in which it becomes a file."""

    def note(session: Session, file: StoredFile) -> None:
        if not take(session, lease_of(held.id), held.holder, seconds=held.seconds):
            raise LostJob(held.id)
        job = session.exec(select(Job).where(col(Job.id) == held.id)).one()
        # What a job has come to an end without is nobody's: the file that it tells of may be deleted by now.
        if name in job.work.get("results", {}) or job.status in states.FINISHED:
            raise KeptBefore
        job.work = {**job.work, "results": {**job.work.get("results", {}), name: file.id}}
        job.result_files = [*job.result_files, file.id]
        session.add(job)

    return note
