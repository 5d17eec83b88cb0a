"""What the pipeline's own stores hold of a job (artifacts, runs, registered versions) goes when its file or model goes.

The service knows no such store: a command of the settings deletes it, beside the dispatcher, again until it has.
"""

import logging
import os
import subprocess
import time
from itertools import islice

from sqlmodel import Session, col, select

from reft.service.jobs import leases, states
from reft.service.jobs.folders import JobFolder, folder_of, logs
from reft.service.jobs.held import lease_of
from reft.service.service import Service
from reft.service.tables import Job

LOG = logging.getLogger(__name__)
STATE, ASKED, DONE = "forget", "asked", "done"  # in a job's notebook
AT_ONCE = 50  # jobs of one command
LOOK, AGAIN = 5.0, 120.0  # seconds between looks; after a command that failed


def ask_to_forget(session: Session, job: Job) -> None:
    """Let what the pipeline has stored of a finished job be deleted; asked again, it is deleted once."""
    if not is_forgotten(job):
        job.work = {**job.work, STATE: ASKED}
        session.add(job)


def is_forgotten(job: Job) -> bool:
    """Whether the pipeline's stores hold nothing of it: the command has done its work, or it never ran."""
    return job.work.get(STATE) == DONE or not job.attempts


def is_spared(job: Job, folder: JobFolder) -> bool:
    """Whether the folder of a job that has ended stays: its model is whole, and failures of ours kept it from serving.

    It goes with the rows that the model was made of: when somebody deletes those, or after their time.
    """
    failed = job.error is not None and job.error["code"] == states.SERVER_ERROR
    return failed and STATE not in job.work and folder.is_whole


class Forgetting:
    """The command, started for whatever is asked; one at a time, and nobody waits for it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._running: tuple[subprocess.Popen[bytes], list[str]] | None = None
        self._next = 0.0

    def look(self) -> None:
        """Note what the command has done, and start it where there is more to do."""
        if self._running is not None:
            process, names = self._running
            if process.poll() is not None:
                self._ended(process.returncode, names)
        elif time.monotonic() > self._next:
            self._next = time.monotonic() + LOOK
            if names := self._asked():
                self._start(names)

    def _asked(self) -> list[str]:
        asked = col(Job.work)[STATE].as_string() == ASKED
        with self.service.database.reading() as session:
            query = select(Job.id).where(asked, col(Job.status).in_(states.FINISHED)).order_by(col(Job.seq))
            over = (name for name in session.exec(query).all() if not self._works_on(session, name))
            return list(islice(over, AT_ONCE))

    def _works_on(self, session: Session, job_id: str) -> bool:
        """Whether anything of a finished job is still being ended: what it stored afterwards would stay for ever."""
        return leases.is_held(session, lease_of(job_id)) or folder_of(self.service.settings, job_id).root.exists()

    def _start(self, names: list[str]) -> None:
        settings = self.service.settings
        if not settings.forget:
            self._note(names)
            return
        log = logs(settings) / "forgetting.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [*settings.forget, *names], cwd=settings.pipeline_folder, env=dict(os.environ),
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                )  # fmt: skip
        except OSError:
            LOG.exception("service.forget cannot be started; tried again")
            self._next = time.monotonic() + AGAIN
            return
        self._running = process, names

    def _ended(self, status: int, names: list[str]) -> None:
        self._running = None
        if status == 0:
            self._note(names)
            return
        LOG.error("service.forget ended with %s; tried again; see %s", status, logs(self.service.settings))
        self._next = time.monotonic() + AGAIN

    def _note(self, names: list[str]) -> None:
        with self.service.database.writing() as session:
            for job in session.exec(select(Job).where(col(Job.id).in_(names))).all():
                job.work = {**job.work, STATE: DONE}
                session.add(job)
