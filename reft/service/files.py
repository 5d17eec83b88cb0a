"""Files in the database: kept, looked up, deleted with what was made of them."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from reft.service.blobs import Blobs
from reft.service.clock import now
from reft.service.errors import invalid, not_found, over_quota
from reft.service.jobs.forgetting import ask_to_forget
from reft.service.jobs.shown import REPORT
from reft.service.jobs.states import UNFINISHED
from reft.service.names import new_id
from reft.service.service import Service
from reft.service.tables import Job, Organization, ReviewItem, StoredFile, Upload, UploadPart

FINE_TUNE = "fine-tune"
RESULTS = "fine-tune-results"
LONGEST_NAME = 255
# The ending says what kind of file it is.
SUFFIX_OF_ROWS = re.compile(r"(\.[A-Za-z0-9]{1,10}){1,2}$")


@dataclass(frozen=True, kw_only=True)
class NewFile:
    """What a file will be called, and for how long it stays (None: until it is deleted)."""

    organization_id: str
    filename: str
    purpose: str
    seconds: int | None = None
    derived_from: str | None = None


def keep_file(
    service: Service,
    new: NewFile,
    pieces: Iterable[bytes],
    *,
    room: bool = True,
    also: Callable[[Session, StoredFile], None] | None = None,
) -> StoredFile:
    """Write the content, then the row: a kill in between leaves content without a name, and never the reverse.

    Args:
        room: whether the organization's quota counts; results of jobs are kept in any case.
        also: what else becomes true with the row, all at once.

    Raises:
        ApiError: the quota is used up.
        StorageError: it cannot be written.
    """
    made = new_id("file-")
    blob = f"{new.organization_id}/{made}"
    size, digest = service.blobs.write(blob, pieces)
    checked = new.purpose == FINE_TUNE
    row = StoredFile(
        id=made, organization_id=new.organization_id, created_at=now(), filename=safe_name(new.filename),
        purpose=new.purpose, bytes=size, sha256=digest, blob=blob, status="uploaded" if checked else "processed",
        derived_from=new.derived_from, expires_at=now() + new.seconds if new.seconds else None,
    )  # fmt: skip
    try:
        with service.database.writing() as session:
            if room:
                require_room(service, session, new.organization_id, size=size)
            session.add(row)
            if also:
                session.flush()
                also(session, row)
    except BaseException:
        service.blobs.remove(blob)
        raise
    return row


def safe_name(name: str) -> str:
    """A file's name without folders and without what no header and no terminal should carry."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable())[-LONGEST_NAME:] or "file"


def quotas_of(service: Service, session: Session, organization_id: str) -> dict[str, int]:
    """What the organization may hold: the settings', overruled by its own."""
    return {**service.settings.quotas.model_dump(), **session.get_one(Organization, organization_id).quotas}


def require_room(service: Service, session: Session, organization_id: str, *, size: int) -> None:
    """See that so many bytes more may be kept.

    Raises:
        ApiError: they may not.
    """
    most = quotas_of(service, session, organization_id)["bytes"]
    mine = (col(StoredFile.organization_id) == organization_id, col(StoredFile.deleted_at).is_(None))
    held = session.exec(select(func.coalesce(func.sum(StoredFile.bytes), 0)).where(*mine)).one()
    waiting = select(func.coalesce(func.sum(Upload.bytes), 0)).where(
        col(Upload.organization_id) == organization_id, col(Upload.status) == "pending", col(Upload.expires_at) > now()
    )
    held += session.exec(waiting).one()
    if held + size > most:
        raise over_quota(f"Your organization may hold {most:,} bytes of files and holds {held:,}; delete some.")


def living(organization_id: str) -> tuple:
    """The conditions for an organization's files that are there."""
    return (
        col(StoredFile.organization_id) == organization_id,
        col(StoredFile.deleted_at).is_(None),
        or_(col(StoredFile.expires_at).is_(None), col(StoredFile.expires_at) > now()),
    )


def file_of(session: Session, organization_id: str, file_id: str, *, param: str = "id") -> StoredFile:
    """One file of an organization.

    Raises:
        ApiError: it has no such file.
    """
    query = select(StoredFile).where(col(StoredFile.id) == file_id, *living(organization_id))
    if (found := session.exec(query).first()) is None:
        raise not_found("file", file_id, param)
    return found


def delete_file(session: Session, organization_id: str, file_id: str) -> list[str]:
    """Delete a file and what was made of its text; gives the keys of the content, to be removed once that is committed.

    Raises:
        ApiError: it has no such file, or a job that has not finished needs it.
    """
    found = file_of(session, organization_id, file_id)
    if busy := [job.id for job in _uses(session, found) if job.status in UNFINISHED]:
        raise invalid(f"{busy[0]} still needs this file; cancel the job first.", "id", "file_in_use")
    return take_away(session, found)


def take_away(session: Session, file: StoredFile) -> list[str]:
    """Delete a file that no job needs any more, with all that was made of its text, here and in the pipeline's stores.

    Returns:
        The keys of the content, to be removed once that is committed.
    """
    jobs = _uses(session, file)
    for job in jobs:
        ask_to_forget(session, job)
        job.work = {**job.work, REPORT: False}
        session.add(job)
        for item in session.exec(select(ReviewItem).where(col(ReviewItem.job_id) == job.id)).all():
            item.content, item.span = {}, ""
            session.add(item)
    made = [name for job in jobs if job.training_file == file.id for name in job.result_files]
    derived = or_(col(StoredFile.derived_from) == file.id, col(StoredFile.id).in_(made))
    blobs = [f"jobs/{job.id}" for job in jobs]
    for row in (file, *session.exec(select(StoredFile).where(derived)).all()):
        if row.deleted_at is None:
            row.deleted_at, row.filename, row.status_details = now(), "", None
            session.add(row)
            blobs.append(row.blob)
    return blobs


def _uses(session: Session, file: StoredFile) -> Sequence[Job]:
    """The jobs that read it."""
    uses = or_(col(Job.training_file) == file.id, col(Job.validation_file) == file.id)
    return session.exec(select(Job).where(uses)).all()


def needed(session: Session) -> set[str]:
    """Files that a job which has not finished reads."""
    jobs = session.exec(select(Job).where(col(Job.status).in_(UNFINISHED))).all()
    return {name for job in jobs for name in (job.training_file, job.validation_file) if name}


def delete_expired(service: Service) -> int:
    """Delete what has outlived its time: files that no job reads, uploads that nobody completed; gives how many."""
    with service.database.writing() as session:
        query = select(StoredFile).where(col(StoredFile.deleted_at).is_(None), col(StoredFile.expires_at) <= now())
        blobs, reads = [], needed(session)
        for row in session.exec(query).all():
            if row.id not in reads:
                blobs += take_away(session, row)
        late = (col(Upload.status) == "pending", col(Upload.expires_at) <= now())
        for upload in session.exec(select(Upload).where(*late)).all():
            upload.status = "expired"
            blobs += drop_parts(session, upload.id)
    remove_blobs(service.blobs, blobs)
    return len(blobs)


def drop_parts(session: Session, upload_id: str) -> list[str]:
    """Forget the parts of an upload; gives the keys of their content."""
    parts = session.exec(select(UploadPart).where(col(UploadPart.upload_id) == upload_id)).all()
    for part in parts:
        session.delete(part)
    return [part.blob for part in parts]


def remove_blobs(blobs: Blobs, keys: Iterable[str]) -> None:
    """Remove content whose rows are gone."""
    for key in keys:
        blobs.remove(key)
