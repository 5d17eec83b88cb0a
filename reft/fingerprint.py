"""Fingerprints of what made an artifact: files, folders and the library's own code."""

import hashlib
from importlib.metadata import version
from pathlib import Path

import reft


def of_path(path: str | Path) -> str:
    """A digest of a file's or folder's content; a name that is no path (a hub id) stands for itself."""
    path = Path(path).expanduser()
    if not path.exists():
        return f"name:{path}"
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.relative_to(path).as_posix().encode() if path.is_dir() else b"")
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha1").digest())
    return digest.hexdigest()


def of_code(*packages: str) -> str:
    """A digest of these subpackages of `reft` and of the libraries whose numerics they stand on."""
    root = Path(reft.__file__).parent
    digest = hashlib.blake2b(digest_size=16)
    for name in packages:
        for file in sorted((root / name).rglob("*.py")) if (root / name).is_dir() else [root / f"{name}.py"]:
            digest.update(file.read_bytes())
    for library in ("torch", "transformers", "peft", "tokenizers", "deepspeed"):
        digest.update(f"{library}=={version(library)}".encode())
    return digest.hexdigest()


def of_text(*parts: str) -> str:
    """A digest of texts in their order."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
