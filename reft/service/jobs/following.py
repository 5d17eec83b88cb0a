"""A running pipeline as its job's owner sees it: the stage, the training's losses, when it will be over.

All of it is read from what the run leaves behind, so that another worker says the same again; the events' marks see to
it that nobody hears it twice.
"""

import json
from pathlib import Path
from typing import Any

from sqlmodel import Session

from reft.filtering.screening import LEFT_OUT, UNUSABLE, Screening
from reft.service.clock import now
from reft.service.jobs import states
from reft.service.jobs.events import say
from reft.service.jobs.folders import JobFolder
from reft.service.jobs.held import HeldJob
from reft.service.jobs.words import seconds_left, stage_of
from reft.service.tables import Job

MOST_EVENTS = 200  # of the training's steps, evenly
SPARE = 15  # seconds by which a new estimate must differ to be worth a change


class Follower:
    """Reads what one run leaves; each look passes on what is new."""

    def __init__(self, held: HeldJob, folder: JobFolder) -> None:
        self.held, self.folder = held, folder
        self._step = 0

    def look(self, said: str) -> None:
        """Tell what has happened since the last look.

        Raises:
            LostJob: somebody else has the job.
        """
        stage, left, lines = stage_of(said), seconds_left(said), self._new_lines()
        job = self.held.look()
        ends = now() + left if left is not None else None
        late = ends is not None and abs(ends - (job.estimated_finish or 0)) > SPARE
        enters = stage is not None and job.stage in (states.SCREENING, states.TRAINING) and stage != job.stage
        if not (lines or late or enters):
            return
        with self.held.changing() as (session, job):
            if job.status != states.RUNNING:
                return
            if late:
                job.estimated_finish = ends
            if enters and stage is not None:
                job.stage = stage
            if lines or (enters and stage == states.TRAINING):
                say(session, job, "Training has started", mark="training")
            say_steps(session, job, lines)
            self._step = max([self._step, *(line["step"] for line in lines)])

    def _new_lines(self) -> list[dict[str, Any]]:
        found = [line for path in self.folder.trainings.glob("*/metrics.jsonl") for line in _lines(path)]
        return [line for line in found if line["step"] > self._step]


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file that grows, is cut back where a training goes on, and goes at its end."""
    try:
        content = path.read_bytes()
    except OSError:
        return []
    lines = []
    for line in content.split(b"\n")[:-1]:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def say_steps(session: Session, job: Job, lines: list[dict[str, Any]]) -> None:
    """An event for each of these steps, or for every so manieth of a long training; the first and last always."""
    for line in lines:
        step, steps = line["step"], line["steps"]
        if step % -(-steps // MOST_EVENTS) and step not in (1, steps):
            continue
        data = {"step": step, "total_steps": steps, "train_loss": line["loss"]}
        data |= {name: line[name] for name in ("ce", "kl", "learning_rate", "tokens") if name in line}
        text = f"Step {step}/{steps}: training loss={line['loss']:.4f}"
        say(session, job, text, mark=f"step-{step}", data=data, metrics=True)


def say_screening(session: Session, job: Job, found: Screening, *, reviewed: bool) -> None:
    """How many rows were kept, quarantined and dropped; and again, once people have decided."""
    counts = found.counts
    parts = [f"{counts.get(name, 0)} {word}" for name, word in WORDS.items()]
    also = [f"{counts[name]} {word}" for name, word in ALSO.items() if counts.get(name)]
    words = "After review" if reviewed else "Screening finished"
    data = {"kept": counts.get("keep", 0), "quarantined": counts.get("quarantine", 0), "dropped": counts.get("drop", 0)}
    data |= {name: counts[name] for name in ALSO if counts.get(name)}
    text = f"{words}: {', '.join([*parts, *also])} of {len(found.rows)} rows"
    level = "info" if data["kept"] == found.scored else "warn"
    say(session, job, text, mark="reviewed" if reviewed else "screened", level=level, data=data)
    job.notes = {**job.notes, **{f"reft_rows_{name}": str(data[name]) for name in ("kept", "quarantined", "dropped")}}


WORDS = {"keep": "kept", "quarantine": "quarantined", "drop": "dropped"}
ALSO = {UNUSABLE: "unusable", LEFT_OUT: "left out by the file itself"}
