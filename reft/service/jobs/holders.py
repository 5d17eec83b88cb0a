"""Processes as holders of leases: a process says who it is, and another one of its machine sees that it has gone.

A lease that runs out tells the same, later: that is how other machines learn it.
"""

import os
import secrets
import socket
from contextlib import suppress

import psutil
from sqlmodel import Session

from reft.service.jobs import leases


def this_process() -> str:
    """`MACHINE|PID|START|RANDOM`: a process that is started with the same number later is another one."""
    return f"{socket.gethostname()}|{os.getpid()}|{_started(os.getpid())}|{secrets.token_hex(4)}"


def coming() -> str:
    """A name for a process that is about to be started."""
    return f"coming|{secrets.token_hex(8)}"


def has_gone(holder: str) -> bool:
    """Whether it was a process of this machine and runs no more."""
    machine, _, rest = holder.partition("|")
    pid, _, rest = rest.partition("|")
    if machine != socket.gethostname() or not pid.isdigit():
        return False
    return _started(int(pid)) != rest.partition("|")[0]


def take_over(session: Session, name: str, holder: str, *, seconds: float) -> int | None:
    """`leases.take`, also from a process that has gone before its lease has run out."""
    before = leases.holder_of(session, name)
    if before and has_gone(before):
        leases.release(session, name, before)
    return leases.take(session, name, holder, seconds=seconds)


def _started(pid: int) -> str:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return f"{process.create_time():.2f}"
    return ""
