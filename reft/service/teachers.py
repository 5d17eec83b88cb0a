"""The teacher that moderates: the operator's, or the newest that a job has made, or the last run's of this clone."""

from pathlib import Path

from reft.filtering.inputs import DEFAULT_TEACHER
from reft.filtering.provider import calibrations_beside
from reft.service.blobs import Blobs
from reft.service.names import TEACHERS
from reft.service.service import Service
from reft.service.serving.folders import folder_of
from reft.storage.fingerprint import of_path

NEWEST = f"{TEACHERS}/newest"  # holds the key of the newest teacher's folder


def keep_teacher(blobs: Blobs, folder: Path) -> None:
    """Keep the teacher in this folder, and the calibration beside it, among the files: every server moderates with it.

    It is the provider's alone, and the same for most jobs; one that is kept already stays as it is.

    Raises:
        StorageError: it cannot be written.
    """
    key = f"{TEACHERS}/{of_path(folder)}"
    if newest_teacher(blobs) == key:
        return
    for part in (folder, calibrations_beside(folder)):
        blobs.write_folder(f"{key}/{part.name}", part)
    blobs.write(NEWEST, [key.encode()])  # last: a half-written one is never the newest


def newest_teacher(blobs: Blobs) -> str | None:
    """The key of the newest teacher that a job has made; None where none has.

    Raises:
        StorageError: the files cannot be reached.
    """
    return b"".join(blobs.read(NEWEST)).decode() if blobs.has(NEWEST) else None


def teacher_of(service: Service) -> Path:
    """The folder of the teacher that moderates, which need not be there.

    Raises:
        StorageError: the files cannot be reached.
    """
    settings = service.settings
    if settings.teacher:
        return settings.teacher.resolve()
    if key := newest_teacher(service.blobs):
        return folder_of(service, key) / DEFAULT_TEACHER.name
    return (settings.pipeline_folder / DEFAULT_TEACHER).resolve()
