"""Where a served model's files lie on this machine."""

import os
import secrets
import shutil
import time
from collections.abc import Set
from pathlib import Path

from reft.errors import StorageError, explain
from reft.service.names import MODELS, TEACHERS
from reft.service.service import Service


def folder_of(service: Service, key: str) -> Path:
    """The folder under this key: itself, or where files lie in a bucket a copy that is made once.

    Raises:
        StorageError: it is not there.
    """
    if service.blobs.local:
        folder = Path(service.blobs.path(key))
        if not folder.is_dir():
            raise _missing(key)
        return folder
    folder = _copies(service) / key
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.{secrets.token_hex(6)}.part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(service.blobs.fetch_folder(key, partial), folder)
    except (OSError, StorageError) as error:
        if not folder.is_dir():  # another process was faster
            raise _missing(key) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def drop_copies(service: Service, living: Set[str], *, young: float) -> int:
    """Delete copies of models and teachers that are no more, and halves of copies; gives how many.

    Args:
        living: the keys of those that are.
        young: seconds in which half a copy may still become a whole one.
    """
    gone = 0
    for folder in [*_copies(service).glob(f"{MODELS}/*"), *_copies(service).glob(f"{TEACHERS}/*")]:
        partial = folder.suffix == ".part"
        key = f"{folder.parent.name}/{folder.name}"
        if (time.time() - folder.stat().st_mtime > young) if partial else key not in living:
            shutil.rmtree(folder, ignore_errors=True)
            gone += 1
    return gone


def _copies(service: Service) -> Path:
    return service.settings.state.absolute() / "models"


def _missing(key: str) -> StorageError:
    return StorageError(explain("a model's files are not there", key, "bring them back from a backup"))
