"""`/v1/uploads`: a file that comes in parts."""

import hashlib
from collections.abc import Iterator
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from sqlalchemy import func
from sqlmodel import Session, col, select

from reft.errors import StorageError
from reft.service.access import Serving, needs
from reft.service.bodies import UploadComplete, UploadCreate
from reft.service.clock import now
from reft.service.errors import ApiError, invalid, not_found
from reft.service.files import NewFile, drop_parts, keep_file, remove_blobs, require_room, safe_name
from reft.service.keys import Caller
from reft.service.names import new_id
from reft.service.routes.files import bounded, file_body, one_file
from reft.service.service import Service
from reft.service.tables import StoredFile, Upload, UploadPart

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
Key = Annotated[Caller, Depends(needs("files"))]
PART = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["data"],
                    "properties": {"data": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


def upload_body(row: Upload, file: StoredFile | None = None) -> dict[str, Any]:
    """An upload as the SDK reads it."""
    late = row.status == "pending" and row.expires_at <= now()
    return {
        "id": row.id, "object": "upload", "bytes": row.bytes, "created_at": row.created_at, "filename": row.filename,
        "purpose": row.purpose, "status": "expired" if late else row.status, "expires_at": row.expires_at,
        "file": file_body(file) if file else None,
    }  # fmt: skip


@router.post("")
def create(service: Serving, caller: Key, body: UploadCreate) -> dict[str, Any]:
    """Begin."""
    limits = service.settings.limits
    if body.bytes > limits.upload_bytes:
        raise invalid(f"A file may have {limits.upload_bytes:,} bytes.", "bytes", "file_too_large")
    row = Upload(
        id=new_id("upload_"), organization_id=caller.organization_id, created_at=now(), bytes=body.bytes,
        filename=safe_name(body.filename), purpose=body.purpose, mime_type=body.mime_type,
        expires_at=now() + limits.upload_seconds,
        file_seconds=body.expires_after.seconds if body.expires_after else None,
    )  # fmt: skip
    with service.database.writing() as session:
        require_room(service, session, caller.organization_id, size=body.bytes)
        session.add(row)
    return upload_body(row)


@router.post("/{upload_id}/parts", openapi_extra=PART)
async def add_part(request: Request, service: Serving, caller: Key, *, upload_id: str) -> dict[str, Any]:
    """Bring one part."""
    async with one_file(request, "data") as (data, _):
        pieces = bounded(data.file, service.settings.limits.part_bytes)
        part = await to_thread.run_sync(lambda: _keep_part(service, caller, upload_id, pieces=pieces))
    return {"id": part.id, "object": "upload.part", "created_at": part.created_at, "upload_id": upload_id}


def _keep_part(service: Service, caller: Caller, upload_id: str, *, pieces: Iterator[bytes]) -> UploadPart:
    with service.database.reading() as session:
        _pending(session, caller, upload_id)
    made = new_id("part_")
    blob = f"{caller.organization_id}/{upload_id}-{made}"
    size, _ = service.blobs.write(blob, pieces)
    part = UploadPart(
        id=made, organization_id=caller.organization_id, created_at=now(), upload_id=upload_id, bytes=size, blob=blob
    )
    try:
        with service.database.writing() as session:
            upload = _pending(session, caller, upload_id)
            held = select(func.coalesce(func.sum(UploadPart.bytes), 0)).where(col(UploadPart.upload_id) == upload_id)
            # A part that was sent again after a timeout is there twice, and only one of the two will be named.
            if session.exec(held).one() + size > 2 * upload.bytes:
                raise invalid("The parts are larger than the upload's bytes.", "data", "upload_too_large")
            session.add(part)
    except BaseException:
        service.blobs.remove(blob)
        raise
    return part


@router.post("/{upload_id}/complete")
def complete(service: Serving, caller: Key, upload_id: str, *, body: UploadComplete) -> dict[str, Any]:
    """Make the file of its parts, in the order that is named; asked for again, it answers again."""
    with service.database.reading() as session:
        if done := _completed(session, caller, upload_id, body=body):
            return upload_body(*done)
        upload = _pending(session, caller, upload_id)
        parts = _ordered(session, upload_id, body.part_ids)
    if (size := sum(part.bytes for part in parts)) != upload.bytes:
        raise invalid(f"The parts have {size:,} bytes, the upload {upload.bytes:,}.", "part_ids", "size_mismatch")
    digest = hashlib.md5(usedforsecurity=False)

    def pieces() -> Iterator[bytes]:
        for part in parts:
            for piece in service.blobs.read(part.blob):
                digest.update(piece)
                yield piece
        if body.md5 and digest.hexdigest() != body.md5.lower():
            raise invalid("The content has another md5.", "md5", "md5_mismatch")

    new = NewFile(
        organization_id=caller.organization_id, filename=upload.filename, purpose=upload.purpose,
        seconds=upload.file_seconds,
    )  # fmt: skip
    blobs = []

    def close(session: Session, file: StoredFile) -> None:
        row = _pending(session, caller, upload_id)
        row.status, row.file_id, row.part_ids = "completed", file.id, body.part_ids
        session.add(row)
        blobs.extend(drop_parts(session, upload_id))

    try:
        keep_file(service, new, pieces(), room=False, also=close)  # its room was kept when the upload began
    except (ApiError, StorageError):
        with service.database.reading() as session:
            if done := _completed(session, caller, upload_id, body=body):  # somebody else was quicker
                return upload_body(*done)
        raise
    remove_blobs(service.blobs, blobs)
    with service.database.reading() as session:
        return upload_body(_upload(session, caller, upload_id), _file_of(session, upload_id))


def _completed(
    session: Session, caller: Caller, upload_id: str, *, body: UploadComplete
) -> tuple[Upload, StoredFile | None] | None:
    """The upload and its file where it was completed with these very parts."""
    upload = _upload(session, caller, upload_id)
    if upload.status != "completed" or upload.part_ids != body.part_ids:
        return None
    return upload, _file_of(session, upload_id)


def _file_of(session: Session, upload_id: str) -> StoredFile | None:
    made = select(Upload.file_id).where(col(Upload.id) == upload_id).scalar_subquery()
    return session.exec(select(StoredFile).where(col(StoredFile.id) == made)).first()


def _ordered(session: Session, upload_id: str, part_ids: list[str]) -> list[UploadPart]:
    if len(set(part_ids)) != len(part_ids):
        raise invalid("A part is named twice.", "part_ids", "duplicate_part")
    there = {p.id: p for p in session.exec(select(UploadPart).where(col(UploadPart.upload_id) == upload_id)).all()}
    for name in part_ids:
        if name not in there:
            raise invalid(f"The upload has no part {name}.", "part_ids", "part_not_found")
    return [there[name] for name in part_ids]


@router.post("/{upload_id}/cancel")
def cancel(service: Serving, caller: Key, upload_id: str) -> dict[str, Any]:
    """Give it up."""
    with service.database.writing() as session:
        upload = _pending(session, caller, upload_id)
        upload.status = "cancelled"
        session.add(upload)
        blobs = drop_parts(session, upload_id)
    remove_blobs(service.blobs, blobs)
    return upload_body(upload)


def _upload(session: Session, caller: Caller, upload_id: str) -> Upload:
    mine = (col(Upload.id) == upload_id, col(Upload.organization_id) == caller.organization_id)
    if (found := session.exec(select(Upload).where(*mine)).first()) is None:
        raise not_found("upload", upload_id)
    return found


def _pending(session: Session, caller: Caller, upload_id: str) -> Upload:
    """The upload, where it still waits for parts."""
    found = _upload(session, caller, upload_id)
    if (status := upload_body(found)["status"]) != "pending":
        raise invalid(f"The upload is {status}.", "id", f"upload_{status}")
    return found
