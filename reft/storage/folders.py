"""A folder of results that is replaced whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from reft.storage.artifacts import forget_dead, held_folder, written


@contextmanager
def replaced_folder(folder: Path) -> Generator[Path]:
    """A new folder to fill; it takes the place of `folder` when the block ends well, else the old one stays as it is.

    Of several at once the last to end stays. What a killed process was filling goes with the next one.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    prefix = f".{folder.name}-"
    with written(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
    forget_dead(folder.parent, prefix)
    fresh, held = held_folder(folder.parent, prefix)
    try:
        with written(folder.parent):
            fresh.chmod(0o777 & ~_umask())  # a temporary folder is for its owner alone
            yield fresh
            _take_place(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if held is not None:
            os.close(held)


def _take_place(fresh: Path, folder: Path) -> None:
    while True:
        aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):
            os.rename(folder, aside)
        try:
            os.rename(fresh, folder)
        except OSError:
            if folder.exists():  # somebody else's came between
                continue
            if aside.exists():
                os.rename(aside, folder)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now
