"""Files' content, in a folder or in a bucket, through fsspec; never half of one under its name."""

import hashlib
import os
import posixpath
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import fsspec

from reft.errors import StorageError, explain

PIECE = 1 << 20


def pieces_of(stream: IO[bytes]) -> Iterator[bytes]:
    """What is left of a stream, piece by piece; it is closed after the last."""
    with stream:
        while piece := stream.read(PIECE):
            yield piece


class Blobs:
    """Content by key (`ORGANIZATION/ID`); a key never comes from whoever uploads."""

    def __init__(self, url: str) -> None:
        self.fs, self.root = fsspec.core.url_to_fs(url)
        self.local = "file" in self.fs.protocol

    def path(self, key: str) -> str:
        """Where it lies, in the file system's own words."""
        return posixpath.join(self.root, key)

    def write(self, key: str, pieces: Iterable[bytes]) -> tuple[int, str]:
        """Keep the pieces under this key; gives their size and SHA-256.

        Raises:
            StorageError: they cannot be written.
        """
        target, size, digest = self.path(key), 0, hashlib.sha256()
        # A bucket shows an object only when it is whole.
        partial = f"{target}.{secrets.token_hex(6)}.part" if self.local else target
        try:
            if self.local:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
            with self.fs.open(partial, "wb") as out:
                for piece in pieces:
                    out.write(piece)
                    size += len(piece)
                    digest.update(piece)
                if self.local:
                    out.flush()
                    os.fsync(out.fileno())
            if self.local:
                os.replace(partial, target)
        except OSError as error:
            remedy = "free some space, or check service.files and the rights on it"
            raise StorageError(explain(f"could not write: {error}", target, remedy)) from error
        finally:
            if self.local:
                with suppress(OSError):
                    os.unlink(partial)
        return size, digest.hexdigest()

    def read(self, key: str) -> Iterator[bytes]:
        """The content piece by piece.

        Raises:
            StorageError: it is not there.
        """
        yield from pieces_of(self.open(key))

    def open(self, key: str) -> Any:
        """A stream of the content.

        Raises:
            StorageError: it is not there.
        """
        try:
            return self.fs.open(self.path(key), "rb")
        except OSError as error:
            remedy = "bring it back from a backup, or upload it again"
            raise StorageError(explain(f"could not be read: {error}", self.path(key), remedy)) from error

    def fetch(self, key: str, target: Path) -> Path:
        """A copy on this machine.

        Raises:
            StorageError: it is not there.
        """
        with self.open(key) as stream, target.open("wb") as out:
            shutil.copyfileobj(stream, out, PIECE)
        return target

    def listed(self) -> Iterator[tuple[str, float]]:
        """Every key, and when its content was last changed (seconds since 1970)."""
        try:
            found = self.fs.find(self.root, detail=True)
        except FileNotFoundError:
            return
        for path, info in found.items():
            changed = info.get("mtime") or info.get("LastModified")
            seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed or time.time())
            yield posixpath.relpath(path, self.root), seconds

    def remove(self, key: str) -> None:
        """Delete it, or all below it; nothing happens where nothing is."""
        with suppress(FileNotFoundError):
            self.fs.rm(self.path(key), recursive=True)
