"""DeepSpeed compiles its parts when they are first used; this keeps a killed compilation from holding up a run.

Torch lets one process compile and the others wait until its lock file is gone, and nothing takes that away when the
process is killed.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

import psutil

from reft.runtime.processes import marked
from reft.runtime.progress import say

# No compilation of DeepSpeed's takes longer.
COMPILING_SECONDS = 900.0
LOOK_SECONDS = 1.0
# File systems without a device of their own that one machine alone has all the same.
LOCAL = ("tmpfs", "overlay")


class Compilations:
    """Looks at the locks of compilations, says who compiles, and takes away locks whose makers are gone.

    Args:
        mark: what the processes of this run carry (`reft.runtime.processes`).
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._dead: set[tuple[Path, int, int]] = set()
        self._said: set[str] = set()
        self._looked = -LOOK_SECONDS

    def wait(self) -> None:
        """Before a run: until nobody compiles. Whoever waits within torch cannot compile once the lock is gone."""
        began = time.monotonic()
        while self.look() and time.monotonic() - began < COMPILING_SECONDS:
            time.sleep(LOOK_SECONDS)

    def look(self) -> bool:
        """Whether there is a lock; looks at most once a second."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return True
        self._looked = time.monotonic()
        locks = [lock for pattern in ("*/lock", "*/*/lock") for lock in _root().glob(pattern)]
        # A lock whose maker is about to remove it, and has closed it already, looks dead: once.
        before, self._dead = self._dead, set()
        for lock in locks:
            with suppress(FileNotFoundError):  # it was done just now
                self._look_at(lock.resolve(), before)
        return bool(locks)

    def _look_at(self, lock: Path, before: set[tuple[Path, int, int]]) -> None:
        made, makers = lock.stat(), compiling(lock)
        if makers:
            ours = any(marked(maker) == self._mark for maker in makers)
            numbers = ", ".join(str(maker.pid) for maker in makers)
            self._say(
                f"compiling {lock.parent.name}, once"
                if ours
                else f"waiting for another compilation of {lock.parent.name} (process {numbers})"
            )
        elif not is_dead(lock):
            self._say(f"waiting for another compilation of {lock.parent.name}, on another machine or by another user")
        elif (found := (lock, made.st_ino, made.st_mtime_ns)) in before:
            try:
                lock.unlink()
                self._say(f"a compilation of {lock.parent.name} was killed: its lock is taken away")
            except PermissionError:
                self._say(f"a compilation of {lock.parent.name} was killed: ask whoever owns {lock} to delete it")
        else:
            self._dead.add(found)

    def _say(self, line: str) -> None:
        if line not in self._said:
            say(line)
        self._said.add(line)


def compiling(lock: Path) -> list[psutil.Process]:
    """Processes on this machine that hold the lock's file open, as its maker does, or work in its folder, as ninja."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            works_there = process.cwd() == str(lock.parent)
            if works_there or any(file.path == str(lock) for file in process.open_files()):
                found.append(process)
    return found


def is_dead(lock: Path) -> bool:
    """Whether a lock without a maker that can be seen has none: it is too old, or its maker would be seen.

    Raises:
        FileNotFoundError: it is gone.
    """
    made = lock.stat()
    if time.time() - made.st_mtime > COMPILING_SECONDS:
        return True
    return made.st_uid == os.geteuid() and _is_of_this_machine(lock)


def _is_of_this_machine(path: Path) -> bool:
    """Whether no other machine can have made the file: its file system is on a device here."""
    devices = {place.mountpoint for place in psutil.disk_partitions(all=False)}
    places = {place.mountpoint: place.fstype for place in psutil.disk_partitions(all=True)}
    mount = next((str(parent) for parent in path.parents if str(parent) in places), "")
    return mount in devices or places.get(mount) in LOCAL


def _root() -> Path:
    from torch.utils.cpp_extension import get_default_build_root  # slow to import

    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
