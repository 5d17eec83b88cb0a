"""What goes by itself: files and finished jobs after their time, and content that no row names."""

import time
from collections.abc import Iterator

from sqlmodel import Session, col, select

from reft.service.clock import DAY
from reft.service.files import needed, remove_blobs, take_away
from reft.service.jobs import states
from reft.service.jobs.folders import logs
from reft.service.jobs.forgetting import ask_to_forget, is_forgotten
from reft.service.names import MODELS, TEACHERS, weights_key
from reft.service.service import Service
from reft.service.serving.folders import drop_copies
from reft.service.tables import (
    Checkpoint,
    Event,
    Job,
    JobLabel,
    ReviewDecision,
    ReviewItem,
    ServedModel,
    StoredFile,
    UploadPart,
)
from reft.service.teachers import NEWEST, newest_teacher

YOUNG = 3600.0  # seconds in which content may still be waiting for its row
FOLDERS = ("jobs", MODELS, TEACHERS)  # where content is called by its folder; all other is ORGANIZATION/ID


def sweep(service: Service, at: int) -> int:
    """Delete what has outlived its time, and what nobody knows any more; gives how much of it there was.

    Raises:
        StorageError: the files cannot be reached.
    """
    gone = _outlived(service, at)
    remove_blobs(service.blobs, gone)
    teachers = _teachers(service)
    nameless = list(_nameless(service, teachers))
    remove_blobs(service.blobs, nameless)
    with service.database.reading() as session:
        living = _folders(session) | teachers
    return len(gone) + len(nameless) + drop_copies(service, living, young=YOUNG)


def _outlived(service: Service, at: int) -> list[str]:
    """Forget files and finished jobs of more than `retention_days`; models stay until they are deleted."""
    days = service.settings.retention_days
    if not days:
        return []
    before, blobs = at - days * DAY, []
    with service.database.writing() as session:
        old = (col(Job.status).in_(states.FINISHED), col(Job.finished_at) <= before)
        for job in session.exec(select(Job).where(*old)).all():
            if service.settings.forget and not is_forgotten(job):
                ask_to_forget(session, job)  # its rows say what is still to be done, and go with a later sweep
                continue
            blobs += [f"jobs/{job.id}", *_forget(session, job)]
            (logs(service.settings) / f"{job.id}.log").unlink(missing_ok=True)
        session.flush()
        reads = needed(session)
        aged = (col(StoredFile.deleted_at).is_(None), col(StoredFile.created_at) <= before)
        for file in session.exec(select(StoredFile).where(*aged)).all():
            if file.id not in reads and file.deleted_at is None:  # one may go with another
                blobs += take_away(session, file)
    return blobs


def _forget(session: Session, job: Job) -> list[str]:
    """Delete a job's rows; gives the content of the files that it made."""
    items = session.exec(select(ReviewItem).where(col(ReviewItem.job_id) == job.id)).all()
    for table in (Event, Checkpoint, ReviewDecision, JobLabel):
        for row in session.exec(select(table).where(col(table.job_id) == job.id)).all():
            session.delete(row)
    blobs = []
    for file in session.exec(select(StoredFile).where(col(StoredFile.id).in_(job.result_files))).all():
        blobs.append(file.blob)
        session.delete(file)
    for row in (*items, job):
        session.delete(row)
    return blobs


def _folders(session: Session) -> set[str]:
    """The keys of the models that are there."""
    return set(session.exec(select(ServedModel.folder).where(col(ServedModel.deleted_at).is_(None))).all())


def _teachers(service: Service) -> set[str]:
    """The key of the teacher that moderates, and of what says so."""
    newest = newest_teacher(service.blobs)
    return {NEWEST, newest} if newest else set()


def _nameless(service: Service, teachers: set[str]) -> Iterator[str]:
    """Content whose row was never committed, since something was killed between the two."""
    blobs = service.blobs
    with service.database.reading() as session:
        known = set(session.exec(select(StoredFile.blob).where(col(StoredFile.deleted_at).is_(None))).all())
        known |= set(session.exec(select(UploadPart.blob)).all())
        known |= _folders(session) | teachers
        jobs = session.exec(select(Job)).all()
        known |= {f"jobs/{job.id}" for job in jobs}
        busy = {weights_key(job.id) for job in jobs if job.status in states.UNFINISHED}
    for key, changed in blobs.listed():
        first, _, rest = key.partition("/")
        name = f"{first}/{rest.partition('/')[0]}" if first in FOLDERS else key
        if name not in known and name.partition(".")[0] not in busy and time.time() - changed > YOUNG:
            yield key
