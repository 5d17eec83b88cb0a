"""Files that lie elsewhere become local ones first: addresses that fsspec knows (s3://, gs://, https://), hub ids."""

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from reft.errors import DataFormatError, StorageError, explain
from reft.storage.fingerprint import of_path

KINDS = {stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
         stat.S_IFDIR: "a folder"}  # fmt: skip
SMALL = 4 << 20  # bytes; far more than anybody writes by hand


def require_file(path: Path) -> None:
    """See that it is a file, which ends and may be read twice.

    Raises:
        DataFormatError: nothing is there, or a device, a pipe, a socket or a folder.
    """
    if path.is_file():
        return
    try:
        kind = KINDS.get(stat.S_IFMT(path.stat().st_mode), "something else")
    except (OSError, ValueError):  # ValueError: no path holds a zero byte
        raise DataFormatError(explain("no such file", str(path), "correct the path")) from None
    remedy = "name a file" if kind == "a folder" else "name a file; what it would give, write into one first"
    raise DataFormatError(explain(f"{kind}, not a file", str(path), remedy))


def read_small(path: Path, most: int = SMALL) -> bytes:
    """The content of a file that people write by hand.

    Raises:
        DataFormatError: as `require_file`; or there are more than `most` bytes.
        OSError: it may not be read.
    """
    require_file(path)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        what = f"more than the {most:,} bytes that are read of such a file"
        raise DataFormatError(explain(what, str(path), "is it the file that was meant? else make it smaller"))
    return content


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text file that are not blank, each behind the words that say where it stands.

    Raises:
        DataFormatError: as `require_file`.
        StorageError: it is not UTF-8.
    """
    require_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise StorageError(explain("not UTF-8 text", str(path), "save the file as UTF-8")) from error
    for number, line in enumerate(text.split("\n"), start=1):  # `splitlines` would cut a text at U+2028 as well
        if line.strip():
            yield f"{path}, line {number}", line


def local_copy(address: str, folder: Path) -> Path:
    """The path itself where it is a local one, else a copy in the folder, fetched piece by piece.

    Raises:
        DataFormatError: nothing is there, or the file system's own package is missing.
    """
    if "://" not in address:
        return _from_hub(address, folder) if is_hub_id(address) else Path(address)
    import fsspec  # many commands need no remote file

    if address.startswith("file://"):
        require_file(Path(fsspec.core.url_to_fs(address)[1]))
    folder.mkdir(parents=True, exist_ok=True)
    name = urlsplit(address).path.rstrip("/").rsplit("/", 1)[-1] or "input"
    here, partial = folder / name[-100:], folder / "fetching.part"
    try:
        with fsspec.open(address, "rb") as remote, partial.open("wb") as local:
            shutil.copyfileobj(remote, local, 1 << 20)
    except ImportError as error:
        remedy = "install the package that the message names (pip install s3fs for s3://, gcsfs for gs://)"
        raise DataFormatError(explain(str(error), address, remedy)) from error
    except Exception as error:  # every file system brings its own kinds of errors
        remedy = "check the address and this machine's right to read it"
        raise DataFormatError(explain(f"could not be fetched: {error!r}", address, remedy)) from error
    os.replace(partial, here)
    return here


def fingerprint(address: str, digest: Callable[[str], str] = of_path) -> str:
    """A digest that changes with what lies there: of a local path its content, of another what its store says of it.

    Args:
        digest: of a local path; one that remembers reads each but once.

    Raises:
        DataFormatError: nothing is there.
    """
    if "://" not in address:
        return digest(address)
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address)
        return f"{address}:{system.checksum(path)}"
    except Exception as error:  # every file system brings its own kinds of errors
        remedy = "check the address and this machine's right to read it"
        raise DataFormatError(explain(f"could not be looked up: {error!r}", address, remedy)) from error


def is_hub_id(address: str) -> bool:
    """Whether it has the form owner/name, and nothing of that name is here."""
    return bool(re.fullmatch(r"[\w-]+/[\w.-]+", address)) and not Path(address).suffix and not Path(address).exists()


# The files of a hub set that hold rows; its own loader would guess types anew (dates, large numbers) and change texts.
ROWS = tuple(
    f"*.{kind}{end}" for kind in ("json", "jsonl", "csv", "tsv", "parquet", "arrow") for end in ("", ".gz", ".zst")
)


def _from_hub(name: str, folder: Path) -> Path:
    from huggingface_hub import snapshot_download  # slow to import

    target = folder / name.replace("/", "--")
    try:
        snapshot_download(name, repo_type="dataset", local_dir=target, allow_patterns=list(ROWS))
    except Exception as error:  # the hub's client and the network each bring their own
        remedy = "is it a file's path? else check the id, the network and your token"
        raise DataFormatError(
            explain(f"no such file, and no data set of the hub: {error!r:.200}", name, remedy)
        ) from error
    # The client's own notes say when each file came: a killed scan or check would not know the set again.
    shutil.rmtree(target / ".cache", ignore_errors=True)
    return target
