"""A job as its worker has it: read at any time, changed only while the worker holds it."""

import logging
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress

from sqlmodel import Session, col, select

from reft.runtime.flags import Flag
from reft.service.database import AWAY
from reft.service.jobs import leases
from reft.service.service import Service
from reft.service.tables import Job

LOG = logging.getLogger(__name__)
AGAIN = 1.0  # seconds until a database that is away is asked again
SURE = 0.9  # share of a lease's time after which its holder, who cannot renew it, no longer takes it for its own


class LostJob(Exception):
    """Somebody else has the job by now: what this process knows of it counts no more."""


def lease_of(job_id: str) -> str:
    """What the lease of a job is called."""
    return f"job:{job_id}"


class HeldJob:
    """A job and the name under which this process holds it; a thread says that it is still there."""

    def __init__(self, service: Service, job_id: str, holder: str) -> None:
        self.service, self.id, self.holder = service, job_id, holder
        self.seconds = service.settings.lease_seconds
        self.lost = Flag()  # also: given up
        self._over = threading.Event()
        self._renewed = time.monotonic()

    def look(self) -> Job:
        """The job as it is now; a training does not end with a database that is away for a moment.

        Raises:
            LostJob: the database has been away for so long that another machine, which reaches it, may have the job.
        """
        while True:
            try:
                with self.service.database.reading() as session:
                    return session.exec(select(Job).where(col(Job.id) == self.id)).one()
            except AWAY:
                if time.monotonic() - self._renewed > SURE * self.seconds:
                    raise LostJob(self.id) from None
                LOG.warning("%s: the database does not answer; asked again", self.id)
                time.sleep(AGAIN)

    @contextmanager
    def changing(self) -> Generator[tuple[Session, Job]]:
        """A transaction on the job, once the database answers.

        Raises:
            LostJob: this process does not hold it any more.
        """
        self.look()
        with self.service.database.writing() as session:
            if self.lost.is_set() or not self._renew(session):
                raise LostJob(self.id)
            job = session.exec(select(Job).where(col(Job.id) == self.id)).one()
            yield session, job
            session.add(job)

    @contextmanager
    def alive(self) -> Generator[None]:
        """Hold the job until the block ends, and give it back then."""
        beat = threading.Thread(target=self._keep, daemon=True)
        beat.start()
        try:
            yield
        finally:
            self._over.set()
            beat.join()
            # Where the database is away the lease runs out by itself.
            with suppress(*AWAY), self.service.database.writing() as session:
                leases.release(session, lease_of(self.id), self.holder)

    def _keep(self) -> None:
        while not self._over.wait(self.seconds / 4):
            # A database that is away for a moment costs nothing yet.
            with suppress(*AWAY), self.service.database.writing() as session:
                if not self._renew(session):
                    self.lost.set()
                    return

    def _renew(self, session: Session) -> bool:
        asked = time.monotonic()
        if not leases.take(session, lease_of(self.id), self.holder, seconds=self.seconds):
            return False
        self._renewed = asked
        return True
