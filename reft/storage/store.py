"""A folder of files at an address: in an object store that fsspec knows (s3://, gs://), or on this machine."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from reft.errors import ReftError, StorageError, explain

BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A file of a store.

    Attributes:
        name: its path under the store's address; empty where the address is the file itself.
        size: in bytes.
        stamp: changes when the content does: an object's ETag, a local file's time.
    """

    name: str
    size: int
    stamp: str


class Store:
    """Files under one address; what is written appears whole or not at all.

    Raises:
        StorageError: the file system's own package is missing.
    """

    def __init__(self, address: str) -> None:
        import fsspec  # many commands need no remote file

        self.address = address.rstrip("/")
        try:
            self._system: Any
            self._system, self._root = fsspec.core.url_to_fs(self.address)
        except ImportError as error:
            remedy = "install the package that the message names (pip install s3fs for s3://, gcsfs for gs://)"
            raise StorageError(explain(str(error), address, remedy)) from error

    @property
    def is_here(self) -> bool:
        """Whether it is a folder of this machine."""
        return "file" in (self._system.protocol, *self._system.protocol)

    def key(self, name: str) -> str:
        """The whole address of a file."""
        return f"{self.address}/{name}" if name else self.address

    def files(self, under: str = "") -> list[Stored]:
        """Every file below, in no order."""
        with self._explained(under):
            self._system.invalidate_cache()
            found = self._system.find(self._path(under), detail=True)
        return [self._stored(path, info) for path, info in found.items()]

    def stored(self, name: str) -> Stored:
        """One file.

        Raises:
            FileNotFoundError: it is not there.
            PermissionError: it may not be read.
        """
        with self._explained(name):
            self._system.invalidate_cache()
            path = self._path(name)
            return self._stored(path, self._system.info(path))

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        with self._explained(name):
            self._system.invalidate_cache()
            return bool(self._system.isfile(self._path(name)))

    @contextmanager
    def opened(self, name: str, begin: int = 0) -> Generator[IO[bytes]]:
        """A file's bytes from `begin` on, read as they are asked for."""
        with self._explained(name), self._system.open(self._path(name), "rb") as file:
            file.seek(begin)
            yield file

    def read(self, name: str) -> bytes:
        """A small file's content."""
        with self.opened(name) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """A small file."""
        with self._explained(name):
            if not self.is_here:  # an object is there when it is whole
                self._system.pipe_file(self._path(name), content)
                return
            with self._appearing(name) as partial:
                partial.write_bytes(content)

    def put(self, local: Path, name: str) -> None:
        """A copy of a local file."""
        with self._explained(name):
            if not self.is_here:
                self._system.put_file(str(local), self._path(name))
                return
            with self._appearing(name) as partial:
                shutil.copyfile(local, partial)

    def get(self, name: str, local: Path) -> Path:
        """A local copy."""
        local.parent.mkdir(parents=True, exist_ok=True)
        with self.opened(name) as file, local.open("wb") as copy:
            shutil.copyfileobj(file, copy, BLOCK)
        return local

    def copy(self, name: str, to: str) -> None:
        """A second name for the same content, made where it lies."""
        with self._explained(to):
            if not self.is_here:
                self._system.cp_file(self._path(name), self._path(to))
                return
            with self._appearing(to) as partial:
                shutil.copyfile(self._path(name), partial)

    def remove(self, name: str) -> None:
        """A file, or everything under a folder; what is not there is no error."""
        with self._explained(name):
            self._system.invalidate_cache()
            path = self._path(name)
            if self._system.exists(path):
                self._system.rm(path, recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _stored(self, path: str, info: dict[str, Any]) -> Stored:
        if "size" not in info:  # of a root that is a file, some say nothing
            info = self._system.info(path)
        stamp = next((info[name] for name in ("ETag", "etag", "mtime", "updated") if info.get(name)), "")
        name = path.removeprefix(self._root).lstrip("/")
        return Stored(name=name, size=int(info["size"]), stamp=str(stamp).strip('"'))

    @contextmanager
    def _appearing(self, name: str) -> Generator[Path]:
        path = Path(self._path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            yield partial
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
