"""A folder of files at an address: in an object store that fsspec knows (s3://, gs://), or on this machine."""

import io
import os
import secrets
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from reft.errors import ReftError, StorageError, explain
from reft.storage.artifacts import written

PIECE = 1 << 20
BLOCK = 8 * PIECE  # of an object, held in memory while it is read or written; ten thousand of them at most


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A file of a store.

    Attributes:
        name: its path under the store's address; empty where the address is the file itself.
        size: in bytes.
        stamp: changes when the content does: an object's ETag, a local file's time.
        changed: when it was written last, in seconds since 1970; now, where the store does not say.
    """

    name: str
    size: int
    stamp: str
    changed: float = 0.0


class Store:
    """Files under one address; what is written appears whole or not at all.

    Raises:
        StorageError: the address is of no known kind, or the file system's own package is missing.
    """

    def __init__(self, address: str) -> None:
        import fsspec  # many commands need no remote file

        self.address = address.rstrip("/")
        try:
            self._system: Any
            # What other processes write and delete must be seen: no listing is remembered.
            self._system, self._root = fsspec.core.url_to_fs(self.address, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            remedy = "name a folder or s3://BUCKET/PREFIX; for s3:// pip install s3fs, for gs:// gcsfs"
            raise StorageError(explain(str(error), address, remedy)) from error

    @property
    def is_here(self) -> bool:
        """Whether it is a folder of this machine."""
        return "file" in (self._system.protocol, *self._system.protocol)

    @property
    def system(self) -> Any:
        """The fsspec file system below."""
        return self._system

    def path(self, name: str) -> str:
        """Where a file lies, in the file system's own words."""
        return f"{self._root}/{name}" if name else self._root

    def key(self, name: str) -> str:
        """The whole address of a file."""
        return f"{self.address}/{name}" if name else self.address

    def files(self, under: str = "") -> list[Stored]:
        """Every file below, in no order."""
        with self._explained(under):
            self._system.invalidate_cache()
            found = self._system.find(self.path(under), detail=True)
        return [self._stored(path, info) for path, info in found.items()]

    def stored(self, name: str) -> Stored:
        """One file.

        Raises:
            FileNotFoundError: it is not there.
            PermissionError: it may not be read.
        """
        with self._explained(name):
            self._system.invalidate_cache()
            path = self.path(name)
            return self._stored(path, self._system.info(path))

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        with self._explained(name):
            self._system.invalidate_cache()
            return bool(self._system.isfile(self.path(name)))

    @contextmanager
    def opened(self, name: str, begin: int = 0) -> Generator[IO[bytes]]:
        """A file's bytes from `begin` on, read as they are asked for; what goes wrong beside that is the caller's."""
        with self._explained(name):
            file = self._system.open(self.path(name), "rb")
            file.seek(begin)
        with file:
            yield io.BufferedReader(_Reads(file, lambda: self._explained(name)), PIECE)

    def stream(self, name: str) -> IO[bytes]:
        """The same for whoever closes it; a block of an object is held in memory."""
        with self._explained(name):
            return self._system.open(self.path(name), "rb", block_size=BLOCK)

    def read(self, name: str) -> bytes:
        """A small file's content."""
        with self.opened(name) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """A small file."""
        with self._explained(name):
            if not self.is_here:  # an object is there when it is whole
                self._system.pipe_file(self.path(name), content)
                return
            with self._appearing(name) as partial:
                partial.write_bytes(content)

    def write_pieces(self, name: str, pieces: Iterable[bytes]) -> None:
        """A file of any size; where the pieces break off, nothing is left, and what was there before stays."""
        broke: list[BaseException] = []
        try:
            with self._explained(name):
                (self._write_file if self.is_here else self._write_object)(name, _noting(pieces, broke))
        except StorageError:
            if broke:  # that is no fault of the store
                raise broke[0] from None
            raise

    def put(self, local: Path, name: str) -> None:
        """A copy of a local file."""
        with self._explained(name):
            if not self.is_here:
                self._system.put_file(str(local), self.path(name))
                return
            with self._appearing(name) as partial:
                shutil.copyfile(local, partial)

    def put_folder(self, local: Path, name: str) -> None:
        """A copy of every file in a local folder."""
        for file in sorted(path for path in local.rglob("*") if path.is_file()):
            self.put(file, f"{name}/{file.relative_to(local).as_posix()}")

    def get_folder(self, name: str, local: Path) -> Path:
        """A local copy of every file below.

        Raises:
            FileNotFoundError: there is none.
        """
        if not (found := self.files(name)):
            raise FileNotFoundError(self.key(name))
        for file in found:
            self.get(file.name, local / file.name.removeprefix(f"{name}/"))
        return local

    def get(self, name: str, local: Path) -> Path:
        """A local copy."""
        local.parent.mkdir(parents=True, exist_ok=True)
        with written(local.parent), self.opened(name) as file, local.open("wb") as copy:
            shutil.copyfileobj(file, copy, PIECE)
        return local

    def copy(self, name: str, to: str) -> None:
        """A second name for the same content, made where it lies."""
        with self._explained(to):
            if not self.is_here:
                self._system.cp_file(self.path(name), self.path(to))
                return
            with self._appearing(to) as partial:
                shutil.copyfile(self.path(name), partial)

    def remove(self, name: str) -> None:
        """A file, or everything under a folder; what is not there is no error."""
        with self._explained(name):
            self._system.invalidate_cache()
            path = self.path(name)
            if self._system.exists(path):
                self._system.rm(path, recursive=True)

    def _write_file(self, name: str, pieces: Iterable[bytes]) -> None:
        with self._appearing(name) as partial, partial.open("wb") as out:
            for piece in pieces:
                out.write(piece)

    def _write_object(self, name: str, pieces: Iterable[bytes]) -> None:
        """A bucket shows an object once it is committed; closing alone, as a block does that fails, would commit it."""
        out = self._system.open(self.path(name), "wb", autocommit=False, block_size=BLOCK)
        try:
            for piece in pieces:
                out.write(piece)
            out.close()
            out.commit()
        except BaseException:
            with suppress(Exception):
                out.discard()
            out.closed = True  # or it would try to write the rest when it is forgotten
            raise

    def _stored(self, path: str, info: dict[str, Any]) -> Stored:
        if "size" not in info:  # of a root that is a file, some say nothing
            info = self._system.info(path)
        stamp = next((info[name] for name in ("ETag", "etag", "mtime", "updated") if info.get(name)), "")
        name = path.removeprefix(self._root).lstrip("/")
        return Stored(name=name, size=int(info["size"]), stamp=str(stamp).strip('"'), changed=_changed(info))

    @contextmanager
    def _appearing(self, name: str) -> Generator[Path]:
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            yield partial
            with partial.open("rb") as whole:
                os.fsync(whole.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def _explained(self, name: str) -> Generator[None]:
        """Every file system brings its own kinds of errors; what is not there, or not allowed, stays what it is."""
        try:
            yield
        except (ReftError, FileNotFoundError, PermissionError):
            raise
        except Exception as error:
            remedy = "check the address, the network, and this account's right to it; start again: it resumes"
            raise StorageError(explain(f"the store does not answer: {error!r}", self.key(name), remedy)) from error


class _Reads(io.RawIOBase):
    """A file whose errors are explained, and no others."""

    def __init__(self, file: IO[bytes], explained: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__()
        self._file, self._explained = file, explained

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Bytes that were read; 0 at the end."""
        with self._explained():
            piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def _noting(pieces: Iterable[bytes], broke: list[BaseException]) -> Iterator[bytes]:
    """The pieces; an error in making one is noted."""
    try:
        yield from pieces
    except Exception as error:
        broke.append(error)
        raise


def _changed(info: dict[str, Any]) -> float:
    changed = info.get("mtime") or info.get("LastModified")
    return changed.timestamp() if isinstance(changed, datetime) else float(changed or time.time())
