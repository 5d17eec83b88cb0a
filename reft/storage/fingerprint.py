"""Digests of content: texts, files and folders."""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path


def of_path(path: str | Path) -> str:
    """A digest of a file's or folder's content; a name that is no path (a hub id) stands for itself."""
    path = Path(path).expanduser()
    if not path.exists():
        return f"name:{path}"
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(os.fsencode(file.relative_to(path).as_posix()) if path.is_dir() else b"")
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha1").digest())
    return digest.hexdigest()


def remembered() -> Callable[[str], str]:
    """`of_path` that reads each path but once, for as long as whoever asks holds it."""
    return cache(of_path)


def of_text(*parts: str) -> str:
    """A digest of texts in their order."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
