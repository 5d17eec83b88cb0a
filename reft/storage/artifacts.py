"""Reading and writing the files of an artifact: JSON written whole or not at all, errors that name the file."""

import atexit
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, Self

from reft.errors import ReftError, StorageError, explain


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
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(
            explain(f"could not read: {error}", str(path), "run the step that makes this artifact again")
        ) from error


@contextmanager
def as_written(file: Path) -> Generator[None]:
    """The block takes apart what was read from this file; JSON of another shape is explained.

    Raises:
        StorageError: a key is missing, or a value is of another kind.
    """
    try:
        yield
    except ReftError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"no {error} in it" if isinstance(error, KeyError) else "it holds other keys or values than are written"
        raise StorageError(explain(what, str(file), "run the step that makes this artifact again")) from error


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON serialisable")
