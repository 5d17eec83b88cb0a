"""`/v1/files`."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, BinaryIO, Literal
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from sqlmodel import col
from starlette.datastructures import UploadFile

from reft.service.access import Serving, needs, too_large
from reft.service.blobs import pieces_of
from reft.service.bodies import FileForm
from reft.service.errors import ApiError, invalid
from reft.service.files import NewFile, delete_file, file_of, keep_file, living, remove_blobs, require_room
from reft.service.keys import Caller
from reft.service.listing import After, Many, Page, list_body, rows_of
from reft.service.service import Service
from reft.service.tables import StoredFile

router = APIRouter(prefix="/v1/files", tags=["files"])
Key = Annotated[Caller, Depends(needs("files"))]
MANY = 10_000
FORM_BYTES = 10_000  # of a form, beside its file, at most: so much too large a file is found out later
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string"},
                        "expires_after[anchor]": {"type": "string"},
                        "expires_after[seconds]": {"type": "string"},
                    },
                }
            }
        },
    }
}


def file_body(row: StoredFile) -> dict[str, Any]:
    """A file as the SDK reads it."""
    return {
        "id": row.id, "object": "file", "bytes": row.bytes, "created_at": row.created_at, "filename": row.filename,
        "purpose": row.purpose, "status": row.status, "status_details": row.status_details,
        "expires_at": row.expires_at,
    }  # fmt: skip


@router.post("", openapi_extra=FORM)
async def create(request: Request, service: Serving, caller: Key) -> dict[str, Any]:
    """Keep an uploaded file; one for finetuning is then checked, row by row."""
    await to_thread.run_sync(lambda: _require_room(service, caller, request.headers.get("content-length", "")))
    async with one_file(request, "file") as (upload, fields):
        form = _form(fields)
        seconds = form.expires_after.seconds if form.expires_after else None
        new = NewFile(
            organization_id=caller.organization_id, filename=upload.filename or "file", purpose=form.purpose,
            seconds=seconds,
        )  # fmt: skip
        pieces = bounded(upload.file, service.settings.limits.file_bytes)
        row = await to_thread.run_sync(lambda: keep_file(service, new, pieces))
    return file_body(row)


def _require_room(service: Service, caller: Caller, length: str) -> None:
    """Turn away what cannot be kept before it lies on the disk; how large it is in truth counts once it does.

    Raises:
        ApiError: the quota is used up.
    """
    if length.isdecimal():
        with service.database.reading() as session:
            require_room(service, session, caller.organization_id, size=max(0, int(length) - FORM_BYTES))


@asynccontextmanager
async def one_file(request: Request, field: str) -> AsyncGenerator[tuple[UploadFile, dict[str, str]]]:
    """The form's one file, which lies on disk once it is larger than a megabyte, and its text fields."""
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise invalid(f"send multipart/form-data with the field '{field}'", field, "invalid_content_type")
    try:
        form = await request.form(max_files=1, max_fields=20, max_part_size=100_000)
    except ApiError:
        raise
    except (ValueError, KeyError, AssertionError, LookupError) as error:  # of what the parser trips over
        raise invalid(f"the form cannot be read: {error}", field, "invalid_form") from error
    try:
        upload = form.get(field)
        if not isinstance(upload, UploadFile):
            raise invalid(f"Missing required parameter: '{field}' (a file).", field, "missing_required_parameter")
        yield upload, {name: value for name, value in form.multi_items() if isinstance(value, str)}
    finally:
        await form.close()


def _form(fields: dict[str, str]) -> FileForm:
    """The text fields, whose brackets are a path."""
    values: dict[str, Any] = {}
    for name, value in fields.items():
        outer, bracket, inner = name.partition("[")
        if bracket and inner.endswith("]") and isinstance(values.get(outer, {}), dict):
            values.setdefault(outer, {})[inner[:-1]] = value
        else:
            values[name] = value
    try:
        return FileForm.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in error.errors()]) from error


def bounded(stream: BinaryIO, most: int) -> Iterator[bytes]:
    """What was uploaded, piece by piece, up to a limit.

    Raises:
        ApiError: there is more.
    """
    size = 0
    for piece in pieces_of(stream):
        size += len(piece)
        if size > most:
            raise too_large(most)
        yield piece


@router.get("")
def index(
    service: Serving,
    caller: Key,
    *,
    after: After = None,
    limit: Many = MANY,
    order: Literal["asc", "desc"] = "desc",
    purpose: str | None = None,
) -> dict[str, Any]:
    """The organization's files."""
    page = Page(after=after, limit=limit, ascending=order == "asc")
    where = [*living(caller.organization_id), *([col(StoredFile.purpose) == purpose] if purpose else [])]
    with service.database.reading() as session:
        return list_body(*rows_of(session, StoredFile, page, where=where), file_body)


@router.get("/{file_id}")
def retrieve(service: Serving, caller: Key, file_id: str) -> dict[str, Any]:
    """One file."""
    return file_body(_file(service, caller, file_id))


@router.get("/{file_id}/content")
def content(service: Serving, caller: Key, file_id: str) -> StreamingResponse:
    """What is in it, as it was uploaded."""
    row = _file(service, caller, file_id)
    stream = service.blobs.open(row.blob)  # what is missing is said before the answer begins
    headers = {
        "content-length": str(row.bytes),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(row.filename)}",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(pieces_of(stream), media_type="application/octet-stream", headers=headers)


@router.delete("/{file_id}")
def delete(service: Serving, caller: Key, file_id: str) -> dict[str, Any]:
    """Delete it, and what was made of its text."""
    with service.database.writing() as session:
        blobs = delete_file(session, caller.organization_id, file_id)
    remove_blobs(service.blobs, blobs)
    return {"id": file_id, "object": "file", "deleted": True}


def _file(service: Service, caller: Caller, file_id: str) -> StoredFile:
    with service.database.reading() as session:
        return file_of(session, caller.organization_id, file_id)
