"""Where a served model's files lie on this machine."""

import os
import secrets
import shutil
from pathlib import Path

from reft.errors import StorageError, explain
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
    folder = service.settings.state.absolute() / "models" / key
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


def _missing(key: str) -> StorageError:
    return StorageError(explain("a model's files are not there", key, "bring them back from a backup"))
