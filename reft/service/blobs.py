"""Files' content, in a folder or in a bucket: a `Store` whose errors say what of the service they concern."""

import hashlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from reft.errors import ConfigurationError, StorageError, explain
from reft.storage.store import PIECE, Store


def pieces_of(stream: IO[bytes]) -> Iterator[bytes]:
    """What is left of a stream, piece by piece; it is closed after the last."""
    with stream:
        while piece := stream.read(PIECE):
            yield piece


class Blobs:
    """Content by key (`ORGANIZATION/ID`); a key never comes from whoever uploads."""

    def __init__(self, url: str) -> None:
        try:
            self._store = Store(url)
        except StorageError as error:
            remedy = "name a folder or s3://BUCKET/PREFIX, for which s3fs must be installed"
            raise ConfigurationError(
                explain(f"files cannot be kept there: {error}", "service.files", remedy)
            ) from error
        self.fs, self.root, self.local = self._store.system, self._store.path(""), self._store.is_here

    def path(self, key: str) -> str:
        """Where it lies, in the file system's own words."""
        return self._store.path(key)

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

        with self._said(key, "could not write", "free some space, or check service.files and the rights on it"):
            self._store.write_pieces(key, counted())
        return size, digest.hexdigest()

    def write_folder(self, key: str, folder: Path) -> None:
        """Keep all files of a folder below this key; nothing where there is no such folder.

        Raises:
            StorageError: they cannot be written.
        """
        with self._said(key, "could not write", "free some space, or check service.files and the rights on it"):
            self._store.put_folder(folder, key)

    def has(self, key: str) -> bool:
        """Whether there is content under this key.

        Raises:
            StorageError: the files cannot be reached.
        """
        with self._said(key, "could not be looked for", "check service.files and the rights on it"):
            return self._store.has(key)

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
        with self._said(key, "could not be read", "bring it back from a backup, or upload it again"):
            return self._store.stream(key)

    def fetch(self, key: str, target: Path) -> Path:
        """A copy on this machine.

        Raises:
            StorageError: it is not there, breaks off, or finds no room here.
        """
        with self._said(key, "could not be fetched", "check service.files; free some space; else bring it back"):
            self._store.get(key, target)
        return target

    def fetch_folder(self, key: str, target: Path) -> Path:
        """A copy on this machine of all that lies below a key.

        Raises:
            StorageError: nothing is there.
        """
        with self._said(key, "could not be read", "bring it back from a backup"):
            return self._store.get_folder(key, target)

    def listed(self) -> Iterator[tuple[str, float]]:
        """Every key, and when its content was last changed (seconds since 1970)."""
        for file in self._store.files():
            yield file.name, file.changed

    def remove(self, key: str) -> None:
        """Delete it, or all below it; nothing happens where nothing is."""
        self._store.remove(key)

    @contextmanager
    def _said(self, key: str, what: str, remedy: str) -> Generator[None]:
        try:
            yield
        except (StorageError, OSError) as error:
            raise StorageError(explain(f"{what}: {error}", self.path(key), remedy)) from error
