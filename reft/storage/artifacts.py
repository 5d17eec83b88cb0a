"""Reading and writing the files of an artifact: JSON written whole or not at all, errors that name the file."""

import atexit
import dataclasses
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, Self

from reft.errors import DataFormatError, ReftError, StorageError, explain, parts
from reft.storage.files import require_file

# Of sixteen at once somebody came between three times in a row; more only where there are no locks at all.
TRIES = 30
SCRATCH = "reft-scratch-"
# A disk says these whichever file it was; for other errors the folder in question is tried.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
# What becomes of half a character, as JSON's escapes or names of files may bring it.
HALVES = "backslashreplace"
REMEDY = "free some disk space or choose another folder"


class Artifact(Protocol):
    """What passes between the steps: anything that can write itself into a folder and come back."""

    def save(self, folder: Path) -> None:
        """Write everything into the folder."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""


def scratch_folder(name: str) -> Path:
    """A temporary folder for a result that is on its way into a store; gone when this process ends.

    If that is killed, the next process that wants such a folder takes it away.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    folder, _held = held_folder(_temporary(), f"{SCRATCH}{name}-")  # until this process ends
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def scratch(name: str, within: Path | None = None) -> Generator[Path]:
    """The same for the time of a block; `within` another folder than the system's temporary one, hidden there.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    if within is None:
        folder, held = held_folder(_temporary(), f"{SCRATCH}{name}-")
    else:
        forget_dead(within, f".{SCRATCH}{name}-")
        folder, held = held_folder(within, f".{SCRATCH}{name}-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


@contextmanager
def resumed(name: str, within: Path, key: str) -> Generator[Path]:
    """`scratch` for a work that goes on where a killed process left it: the folder of the same key is found again.

    It stays where this process is told to end, too. Folders of other keys, of whose process nothing is left, go. While
    another process works under the key, this one has a folder of its own.

    Args:
        key: a digest of all that decides about the work.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    prefix = f".{SCRATCH}{name}-"
    folder = within / f"{prefix}{key}"
    forget_dead(within, prefix, but=folder)
    with written(within):
        folder.mkdir(exist_ok=True)
    if (held := _hold(folder)) is None:
        with scratch(f"own-{name}", within) as own:
            yield own
        return
    try:
        yield folder
        ended = True
    except Exception:
        ended = True
        raise
    except BaseException:
        ended = False
        raise
    finally:
        if ended:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _temporary() -> Path:
    try:
        root = Path(tempfile.gettempdir())
    except OSError as error:
        raise StorageError(explain("no temporary folder can be written", "TMPDIR", REMEDY)) from error
    forget_dead(root, SCRATCH)
    return root


def held_folder(root: Path, prefix: str) -> tuple[Path, int | None]:
    """A new folder, and the descriptor that holds it; None on a file system without locks, where nobody sweeps.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    for _ in range(TRIES):  # somebody who sweeps may come between
        with written(root):
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        if (held := _hold(folder)) is not None:
            return folder, held
        with suppress(OSError):
            folder.rmdir()
    folder.mkdir(exist_ok=True)
    return folder, None


def _hold(folder: Path) -> int | None:
    """A descriptor that locks the folder until it is closed, or this process dies; None where another one has it."""
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.exists():  # else it was swept just before
            return held
    os.close(held)
    return None


def forget_dead(root: Path, prefix: str, but: Path | None = None) -> None:
    """Take away the held folders of killed processes: nobody holds them any more."""
    for folder in root.glob(f"{prefix}*"):
        if folder != but and (held := _hold(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


@contextmanager
def written(folder: Path, remedy: str = REMEDY) -> Generator[None]:
    """Let what Python and libraries say, each in its own words, of a disk that cannot be written be an error of ours.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, ReftError) or not (found := _about_disk(error, folder)):
            raise
        why, where = found
        remedy = remedy if where == folder else REMEDY
        raise StorageError(explain(f"could not write: {why}", str(where), remedy)) from error


def why_not_writable(folder: Path) -> str | None:
    """What the system says when something is written into the folder; None where that works."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=there) as probe:
            probe.write(bytes(1 << 16))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error.strerror
    return None


def _about_disk(error: Exception, folder: Path) -> tuple[str, Path] | None:
    """(what the system says, where); None where the error is about something else."""
    if isinstance(error, OSError) and error.errno in FULL and error.strerror:
        named = Path(os.fsdecode(error.filename)).absolute() if error.filename else folder.absolute()
        whole = folder.absolute()
        ours = named.is_relative_to(whole) or whole.is_relative_to(named)  # a parent that was to be made, too
        return error.strerror, folder if ours else named.parent
    why = why_not_writable(folder)  # PyTorch and safetensors have no numbers for it
    return (why, folder) if why else None


def write_json(path: Path, value: Any) -> None:
    """Write JSON through a temporary file, so that a reader never sees half of it.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=_plain) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text through a temporary file; halves of characters as escapes, which are JSON's own (`whole`).

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8", errors=HALVES)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StorageError(explain(f"could not write: {error.strerror}", str(path), REMEDY)) from error


def whole(text: str) -> str:
    """The text with halves of characters, which no UTF-8 holds, spelt as JSON spells them."""
    return text.encode("utf-8", HALVES).decode()


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        StorageError: the file is missing, no file, or not JSON.
    """
    try:
        if path.exists():
            require_file(path)  # a device or a pipe may never end
        return json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError as error:
        what, remedy = (
            "no such file",
            "is this the folder that was meant? else its run left it unfinished: run it again",
        )
        raise StorageError(explain(what, str(path), remedy)) from error
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else _why(error)
        remedy = "name another folder, or bring the file back: from a backup, or by running again what made it"
        raise StorageError(explain(f"could not be read: {why}", str(path), remedy)) from error


def _why(error: Exception) -> str:
    """What a file is that it should not be."""
    if isinstance(error, DataFormatError):
        return parts(error)[0]
    if isinstance(error, json.JSONDecodeError):
        why = f"not JSON from line {error.lineno}"
    elif isinstance(error, RecursionError):
        why = "nested too deeply"
    else:
        why = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "a number of too many digits"
    return f"damaged, or not written by reft ({why})"


@contextmanager
def as_written(file: Path) -> Generator[None]:
    """The block takes apart what was read from this file; JSON of another shape is explained.

    Raises:
        StorageError: a key is missing, or a value is of another kind.
    """
    try:
        yield
    except ReftError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"no {error} in it" if isinstance(error, KeyError) else "it holds other keys or values than are written"
        raise StorageError(explain(what, str(file), "run the step that makes this artifact again")) from error


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON serialisable")
