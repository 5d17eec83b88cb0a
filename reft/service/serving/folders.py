"""Where a served model's files lie on this machine."""

import os
import secrets
import shutil
import time
from collections.abc import Sequence, Set
from contextlib import suppress
from pathlib import Path

from reft.errors import StorageError, explain
from reft.service.names import MODELS, TEACHERS
from reft.service.service import Service

IN_USE = 600.0  # seconds in which whoever was given a copy has read it


def folder_of(service: Service, key: str) -> Path:
    """The folder under this key: itself, or where files lie in a bucket a copy, which is made where there is none.

    Raises:
        StorageError: it is not there.
    """
    if service.blobs.local:
        folder = Path(service.blobs.path(key))
        if not folder.is_dir():
            raise _missing(key)
        return folder
    folder = _copies(service) / key
    with suppress(FileNotFoundError):
        os.utime(folder)  # it is used now
        return folder
    partial = _part(folder)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        service.blobs.fetch_folder(key, partial)
        os.utime(partial)
        os.replace(partial, folder)
    except (OSError, StorageError) as error:
        if not folder.is_dir():  # another process was faster
            raise _missing(key) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def drop_copies(service: Service, living: Set[str], *, young: float) -> int:
    """Delete copies of models and teachers that are no more, halves of copies, and what there is no room for.

    Args:
        living: the keys of those that are.
        young: seconds in which half a copy may still become a whole one.

    Returns:
        How many.
    """
    gone, whole = 0, []
    for folder in [*_copies(service).glob(f"{MODELS}/*"), *_copies(service).glob(f"{TEACHERS}/*")]:
        partial = folder.suffix == ".part"
        key = f"{folder.parent.name}/{folder.name}"
        if _unused(folder) > young if partial else key not in living:
            shutil.rmtree(folder, ignore_errors=True)
            gone += 1
        elif not partial:
            whole.append(folder)
    return gone + _make_room(whole, service.settings.copies_bytes)


def _make_room(copies: Sequence[Path], most: int) -> int:
    """Delete the copies that were used least recently, as many as are too many; not what may just be being read."""
    sizes = {folder: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) for folder in copies}
    held, gone = sum(sizes.values()), 0
    for folder in sorted(copies, key=_unused, reverse=True):
        if held <= most or _unused(folder) < IN_USE:
            break
        aside = _part(folder)
        folder.rename(aside)  # for whoever looks it is whole or not there
        shutil.rmtree(aside, ignore_errors=True)
        held, gone = held - sizes[folder], gone + 1
    return gone


def _unused(folder: Path) -> float:
    """For how many seconds nobody has used it; 0 where it has just got another name."""
    with suppress(FileNotFoundError):
        return time.time() - folder.stat().st_mtime
    return 0.0


def _part(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.{secrets.token_hex(6)}.part")


def _copies(service: Service) -> Path:
    return service.settings.state.absolute() / "models"


def _missing(key: str) -> StorageError:
    return StorageError(explain("a model's files are not there", key, "bring them back from a backup"))
