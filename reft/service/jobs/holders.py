"""Processes as holders of leases: a process says who it is, and another one of its machine sees that it has gone.

A lease that runs out tells the same, later: that is how other machines learn it.
"""

import functools
import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path

import psutil
from sqlmodel import Session

from reft.service.jobs import leases


def this_process() -> str:
    """`MACHINE|PID|START|RANDOM`: a process that is started with the same number later is another one."""
    return f"{_machine()}|{os.getpid()}|{_started(os.getpid())}|{secrets.token_hex(4)}"


def coming() -> str:
    """A name for a process that is about to be started."""
    return f"coming|{secrets.token_hex(8)}"


def has_gone(holder: str) -> bool:
    """Whether it was a process of this machine and runs no more."""
    machine, _, rest = holder.partition("|")
    pid, _, rest = rest.partition("|")
    if machine != _machine() or not pid.isdigit():
        return False
    return _started(int(pid)) != rest.partition("|")[0]


def take_over(session: Session, name: str, holder: str, *, seconds: float) -> int | None:
    """`leases.take`, also from a process that has gone before its lease has run out."""
    before = leases.holder_of(session, name)
    if before and has_gone(before):
        leases.release(session, name, before)
    return leases.take(session, name, holder, seconds=seconds)


@functools.cache
def _machine() -> str:
    """Where a process's number means what it means here: one start of one machine, and within it one container.

    A host's name alone does not say so: containers of several machines may have the same one.
    """
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    return f"{socket.gethostname()}/{psutil.boot_time():.0f}"


def _started(pid: int) -> str:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return f"{process.create_time():.2f}"
    return ""
