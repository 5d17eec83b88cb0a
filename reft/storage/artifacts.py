"""Reading and writing the files of an artifact: JSON written whole or not at all, errors that name the file."""

import atexit
import dataclasses
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self

from reft.errors import StorageError, explain


class Artifact(Protocol):
    """What passes between the steps: anything that can write itself into a folder and come back."""

    def save(self, folder: Path) -> None:
        """Write everything into the folder."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""


def scratch_folder(name: str) -> Path:
    """A temporary folder for a result that is on its way into a store; gone when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix=f"reft-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def write_json(path: Path, value: Any) -> None:
    """Write JSON through a temporary file, so that a reader never sees half of it.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=_plain) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text through a temporary file.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StorageError(
            explain(f"could not write: {error.strerror}", str(path), "free some disk space or choose another folder")
        ) from error


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        StorageError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError as error:
        what, remedy = (
            "no such file",
            "is this the folder that was meant? else its run left it unfinished: run it again",
        )
        raise StorageError(explain(what, str(path), remedy)) from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"damaged, or not written by reft ({_where(error)})"
        remedy = "name another folder, or bring the file back: from a backup, or by running again what made it"
        raise StorageError(explain(f"could not be read: {why}", str(path), remedy)) from error


def _where(error: ValueError) -> str:
    """Where a file is not what it should be."""
    return f"not JSON from line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "not UTF-8 text"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON serialisable")
