"""`reft jobs`: the service's jobs in a terminal."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reft.cli.keys import CONFIG, JSON, STATE, opened

if TYPE_CHECKING:
    from sqlmodel import Session

    from reft.service.tables import Job

WIDTH = 20  # characters of a bar
CLEAR = "\033[H\033[2J"


def add_to(app: typer.Typer) -> None:
    """Make the command part of `reft`."""
    app.command()(jobs)


def jobs(
    *,
    organization: Annotated[str, typer.Option(help="one organization's alone; none: all")] = "",
    limit: Annotated[int, typer.Option(min=1, help="how many, newest first")] = 20,
    follow: Annotated[bool, typer.Option("--follow", help="show them again every two seconds")] = False,
    state: Annotated[Path | None, STATE] = None,
    config: Annotated[Path | None, CONFIG] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show the jobs: state, stage, progress, loss, and how long each still takes."""
    service = opened(config, state)
    while True:
        with service.database.reading() as session:
            found = _found(session, organization, limit)
        if as_json:
            typer.echo(json.dumps(found))
        else:
            typer.echo((CLEAR if follow else "") + "\n".join(map(_line, found)))
        if not follow:
            return
        time.sleep(2)


def _found(session: "Session", organization: str, limit: int) -> list[dict[str, Any]]:
    from sqlmodel import col, select

    from reft.service.tables import Job, Organization

    query = select(Job, Organization).join(Organization, col(Job.organization_id) == col(Organization.id))
    if organization:
        query = query.where(col(Organization.name) == organization)
    rows = session.exec(query.order_by(col(Job.seq).desc()).limit(limit)).all()
    return [_shown(session, job, owner.name) for job, owner in rows]


def _shown(session: "Session", job: "Job", organization: str) -> dict[str, Any]:
    from reft.service.jobs.events import newest_step

    data = newest_step(session, job.id)
    return {
        "id": job.id, "organization": organization, "status": job.status, "stage": job.stage, "model": job.model,
        "step": data.get("step"), "steps": data.get("total_steps"), "train_loss": data.get("train_loss"),
        "rows": {n.removeprefix("reft_rows_"): int(v) for n, v in job.notes.items() if n.startswith("reft_rows_")},
        "created_at": job.created_at, "finished_at": job.finished_at, "estimated_finish": job.estimated_finish,
        "fine_tuned_model": job.fine_tuned_model, "error": job.error,
    }  # fmt: skip


def _line(job: dict[str, Any]) -> str:
    from reft.service.jobs.states import FINISHED

    words = [job["id"], f"{job['organization']:16.16}", f"{job['status']:16}"]
    if job["status"] in FINISHED:
        end = job["fine_tuned_model"] or (job["error"] or {}).get("code") or ""
    else:
        left = job["estimated_finish"] and max(0, job["estimated_finish"] - int(time.time()))
        end = job["stage"] + (f", {left // 60}:{left % 60:02d} left" if left is not None else "")
    if job["steps"]:
        done = WIDTH * job["step"] // job["steps"]
        words.append(f"[{'#' * done}{'.' * (WIDTH - done)}] {job['step']}/{job['steps']}")
        words.append(f"loss {job['train_loss']:.3f}")
    if job["rows"]:
        words.append("rows " + " ".join(f"{count} {name}" for name, count in job["rows"].items()))
    return "  ".join([*words, end]).rstrip()
