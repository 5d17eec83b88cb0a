"""A folder of results that is replaced whole or not at all."""

import errno
import os
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from reft.storage.artifacts import scratch, written

OLD = ".reft-old-"
TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


@contextmanager
def replaced_folder(folder: Path) -> Generator[Path]:
    """A new folder to fill; it takes the place of `folder` when the block ends well, else the old one stays as it is.

    Of several at once the last to end stays. What a killed process was filling goes with the next one, and the old
    folder comes back where it was killed between putting that aside and putting the new one there.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with written(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        put_back(folder)
        with scratch(folder.name, folder.parent) as held:
            fresh = held / folder.name  # whose rights are those of any new folder, not those of a temporary one
            fresh.mkdir()
            yield fresh
            _take_place(fresh, folder)


def put_back(folder: Path) -> None:
    """A folder that a killed process put aside comes back where nothing has taken its place, and goes otherwise."""
    for aside in folder.parent.glob(f"{OLD}{folder.name}-*"):
        with suppress(OSError):
            if not folder.exists():
                os.rename(aside, folder)
        shutil.rmtree(aside, ignore_errors=True)


def _take_place(fresh: Path, folder: Path) -> None:
    while True:
        aside = folder.with_name(f"{OLD}{folder.name}-{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):
            os.rename(folder, aside)
        try:
            os.rename(fresh, folder)
        except OSError as error:
            if error.errno in TAKEN:  # somebody else's came between, and may be gone again by now
                shutil.rmtree(aside, ignore_errors=True)
                continue
            if aside.exists():
                os.rename(aside, folder)
            raise
        shutil.rmtree(aside, ignore_errors=True)  # not where this process is ended meanwhile: then it comes back
        return
