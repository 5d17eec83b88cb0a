"""`reft jobs`: the service's jobs in a terminal."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from reft.cli.keys import CONFIG, JSON, STATE, opened

WIDTH = 20  # characters of a bar
CLEAR = "\033[H\033[2J"


def add_to(app: typer.Typer) -> None:
    """Make the command part of `reft`."""
    app.command()(jobs)


def jobs(
    job: Annotated[str, typer.Argument(help="one job alone, with its events; none: a line for each")] = "",
    *,
    organization: Annotated[str, typer.Option(help="one organization's alone; none: all")] = "",
    limit: Annotated[int, typer.Option(min=1, help="how many, newest first")] = 20,
    events: Annotated[int, typer.Option(min=0, help="of one job: how many of its newest events")] = 20,
    follow: Annotated[bool, typer.Option("--follow", help="show them again every two seconds")] = False,
    state: Annotated[Path | None, STATE] = None,
    config: Annotated[Path | None, CONFIG] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show the jobs: state, stage, progress, loss, and how long each still takes; or one, as its owner sees it."""
    from reft.service.jobs.shown import one_job, overview

    service = opened(config, state)
    while True:
        with service.database.reading() as session:
            found = one_job(session, job, events) if job else overview(session, organization, limit)
        text = json.dumps(found) if as_json else "\n".join(_lines(found))
        if text:
            typer.echo((CLEAR if follow and not as_json else "") + text)
        if not follow:
            return
        time.sleep(2)


def _lines(found: list[dict[str, Any]] | dict[str, Any]) -> list[str]:
    if isinstance(found, list):
        return [_line(job) for job in found]
    lines = [_line(found), f"base model       {found['model']}", f"training file    {found['training_file']}"]
    if found["validation_file"]:
        lines.append(f"validation file  {found['validation_file']}")
    lines += [f"result file      {file}" for file in found["result_files"]]
    lines += [f"checkpoint       {one['fine_tuned_model_checkpoint']}" for one in found["checkpoints"]]
    if found["error"]:
        lines.append(f"error            {_plain(found['error']['message'])}")
    for event in reversed(found["events"]):
        when = time.strftime("%F %T", time.localtime(event["created_at"]))
        lines.append(f"{when}  {event['level']:5}  {_plain(event['message'])}")
    return lines


def _plain(text: str) -> str:
    """Words that came from elsewhere, without what a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


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
