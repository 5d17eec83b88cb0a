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

from reft.errors import ConfigurationError, StorageError, explain

PIECE = 1 << 20
BLOCK = 8 * PIECE  # of a bucket's object, held in memory while it is read or written; ten thousand of them at most


def pieces_of(stream: IO[bytes]) -> Iterator[bytes]:
    """What is left of a stream, piece by piece; it is closed after the last."""
    with stream:
        while piece := stream.read(PIECE):
            yield piece


class Blobs:
    """Content by key (`ORGANIZATION/ID`); a key never comes from whoever uploads."""

    def __init__(self, url: str) -> None:
        try:
            # What other processes write and delete must be seen: no listing is remembered.
            self.fs, self.root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            remedy = "name a folder or s3://BUCKET/PREFIX, for which s3fs must be installed"
            raise ConfigurationError(
                explain(f"files cannot be kept there: {error}", "service.files", remedy)
            ) from error
        self.local = "file" in self.fs.protocol
        self.faults = (OSError, *(_of_s3() if "s3" in self.fs.protocol else ()))

    def path(self, key: str) -> str:
        """Where it lies, in the file system's own words."""
        return posixpath.join(self.root, key)

    def write(self, key: str, pieces: Iterable[bytes]) -> tuple[int, str]:
        """Keep the pieces under this key; gives their size and SHA-256.

        Raises:
            StorageError: they cannot be written.
        """
        size, digest = 0, hashlib.sha256()

        def counted() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                size += len(piece)
                digest.update(piece)
                yield piece

        try:
            (self._write_file if self.local else self._write_object)(self.path(key), counted())
        except self.faults as error:
            remedy = "free some space, or check service.files and the rights on it"
            raise StorageError(explain(f"could not write: {error}", self.path(key), remedy)) from error
        return size, digest.hexdigest()

    def _write_file(self, target: str, pieces: Iterator[bytes]) -> None:
        partial = f"{target}.{secrets.token_hex(6)}.part"
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as out:
                for piece in pieces:
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            os.replace(partial, target)
        finally:
            with suppress(OSError):
                os.unlink(partial)

    def _write_object(self, target: str, pieces: Iterator[bytes]) -> None:
        """A bucket shows an object once it is committed; closing alone, as a block does that fails, would commit it."""
        out = self.fs.open(target, "wb", autocommit=False, block_size=BLOCK)
        try:
            for piece in pieces:
                out.write(piece)
            out.close()
            out.commit()
        except BaseException:
            with suppress(*self.faults):
                out.discard()
            out.closed = True  # or it would try to write the rest when it is forgotten
            raise

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
            return self.fs.open(self.path(key), "rb", block_size=BLOCK)
        except self.faults as error:
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

    def fetch_folder(self, key: str, target: Path) -> Path:
        """A copy on this machine of all that lies below a key.

        Raises:
            StorageError: nothing is there.
        """
        try:
            self.fs.get(self.path(key), str(target), recursive=True)
        except self.faults as error:
            remedy = "bring it back from a backup"
            raise StorageError(explain(f"could not be read: {error}", self.path(key), remedy)) from error
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


def _of_s3() -> tuple[type[Exception], ...]:
    """What s3fs passes on as it is: no connection, no credentials."""
    from botocore.exceptions import BotoCoreError

    return (BotoCoreError,)
