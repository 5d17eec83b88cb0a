"""Seals of folders that are handed on: a digest of every file, so that one edited or cut since is noticed."""

import hashlib
import logging
from pathlib import Path

from reft.errors import StorageError, explain
from reft.storage.artifacts import read_json, write_json

LOG = logging.getLogger(__name__)
SEAL = "digests.json"


def seal(folder: Path) -> None:
    """Write `digests.json` with the SHA-256 of every file in the folder; call it when all of them are there.

    Raises:
        StorageError: it cannot be written.
    """
    write_json(folder / SEAL, {name: _digest(folder / name) for name in _files(folder)})


def require_sealed(folder: Path, remedy: str) -> None:
    """See that every file is as it was when the folder was sealed, and that none came. Hidden files do not count.

    It guards against accidents: whoever can write the folder can seal it anew. A folder from before there were seals
    is taken with a warning.

    Raises:
        StorageError: naming the files that were changed, are gone, or are new.
    """
    if not (folder / SEAL).is_file():
        LOG.warning("%s has no %s: whether a file was changed since it was written cannot be told", folder, SEAL)
        return
    digests = read_json(folder / SEAL)
    if not isinstance(digests, dict):
        raise StorageError(explain("not a list of digests", str(folder / SEAL), remedy))
    gone = [name for name in digests if not (folder / name).is_file()]
    changed = [name for name in digests if name not in gone and _digest(folder / name) != digests[name]]
    new = [name for name in _files(folder) if name not in digests]
    found = (("changed", changed), ("gone", gone), ("new", new))
    said = [f"{what}: {', '.join(names[:5])}" for what, names in found if names]
    if said:
        what = f"not as it was written ({'; '.join(said)})"
        raise StorageError(explain(what, str(folder), remedy))


def _files(folder: Path) -> list[str]:
    files = (file for file in folder.rglob("*") if file.is_file() and file != folder / SEAL)
    return sorted(file.relative_to(folder).as_posix() for file in files if not file.name.startswith("."))


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
