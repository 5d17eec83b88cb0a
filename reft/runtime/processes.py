"""Processes that share a work, and that end with whoever started them."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import psutil

LOG = logging.getLogger(__name__)
LAUNCHER = "REFT_LAUNCHER"
ENDING_SECONDS = 60.0


def new_mark() -> str:
    """A value of `LAUNCHER` for the processes that are started next: it names this process, and this work of its own.

    Whatever they start in turn, compilers too, carries it on.
    """
    return f"{os.getpid()}-{uuid.uuid4().hex}"


def marked(process: psutil.Process, name: str = LAUNCHER) -> str | None:
    """The mark that a process carries; None also where that cannot be seen."""
    with suppress(psutil.Error, OSError):
        return process.environ().get(name)
    return None


def end_marked(mark: str, name: str = LAUNCHER) -> None:
    """Kill all processes on this machine that carry the mark but this one; returns when they are gone.

    One that the system cannot end (it waits for a driver or a server) is named after a minute, and left.
    """
    until = time.monotonic() + ENDING_SECONDS
    while found := [p for p in psutil.process_iter() if p.pid != os.getpid() and marked(p, name) == mark]:
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=10)
        if time.monotonic() > until:
            LOG.warning("processes that would not end: %s", ", ".join(str(process.pid) for process in found))
            return


def end_with_launcher() -> None:
    """In a started process: end, at once, when the process that `LAUNCHER` names has gone.

    Whatever killed it, nothing must go on writing where its successor will write; compilers end too.
    """
    if not (mark := os.environ.get(LAUNCHER)):
        return

    def watch() -> None:
        while _runs(int(mark.partition("-")[0])):
            time.sleep(0.5)
        end_marked(mark)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _runs(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # killed, and nobody has asked for its status
    return False


def stop_on_signals() -> None:
    """SIGINT and SIGTERM end this process as an exit does, so that nothing temporary stays; a second one at once.

    It says so, unless it is one of several ranks: whoever started them says it once for all.
    """

    def stop(number: int, _: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        said = f"stopped by {signal.Signals(number).name}: start the same command again: scan and validate resume\n"
        if "RANK" not in os.environ:
            os.write(sys.stderr.fileno(), said.encode())
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


@contextmanager
def on_sigterm(tell: Callable[[], object]) -> Generator[None]:
    """A process that is told to go tells its work, once; then whoever handled the signal before is told.

    Only a main thread may handle signals; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[tuple[int, FrameType | None]] = []

    def handle(number: int, frame: FrameType | None) -> None:
        told.append((number, frame))
        if len(told) == 1:
            tell()

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        if told and callable(before):
            before(*told[0])


def run_in_processes(module: str, arguments: Sequence[str], processes: int) -> int:
    """Start `python -m module` with these arguments in `processes` ranks; returns the exit status of rank 0.

    A rank that dies takes the others along: rank 0 would wait for its part of the work for ever.
    """
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    mark = new_mark()
    shared = {**os.environ, LAUNCHER: mark, "WORLD_SIZE": str(processes)}
    shared |= {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", module, *arguments]
    ranks = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]
    try:
        while ranks[0].poll() is None:
            if died := next((status for r in ranks[1:] if (status := r.poll())), None):
                return died if died > 0 else 2
            time.sleep(0.1)
        return ranks[0].returncode if ranks[0].returncode >= 0 else 2
    finally:
        for rank in ranks:
            if rank.poll() is None:
                rank.kill()
            rank.wait()
        end_marked(mark)
