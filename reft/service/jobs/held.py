"""A job as its worker has it: read at any time, changed only while the worker holds it."""

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

from reft.service.jobs import leases
from reft.service.service import Service
from reft.service.tables import Job


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
        self.lost = threading.Event()
        self._over = threading.Event()

    def look(self) -> Job:
        """The job as it is now."""
        with self.service.database.reading() as session:
            return session.exec(select(Job).where(col(Job.id) == self.id)).one()

    @contextmanager
    def changing(self) -> Generator[tuple[Session, Job]]:
        """A transaction on the job.

        Raises:
            LostJob: this process does not hold it any more.
        """
        with self.service.database.writing() as session:
            if self.lost.is_set() or not leases.take(session, lease_of(self.id), self.holder, seconds=self.seconds):
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
            with self.service.database.writing() as session:
                leases.release(session, lease_of(self.id), self.holder)

    def _keep(self) -> None:
        while not self._over.wait(self.seconds / 4):
            # A database that is away for a moment costs nothing yet.
            with suppress(OperationalError), self.service.database.writing() as session:
                if not leases.take(session, lease_of(self.id), self.holder, seconds=self.seconds):
                    self.lost.set()
                    return
