"""The server: HTTP processes, and beside them the process that checks files and the one that starts jobs."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from reft.errors import ConfigurationError, explain
from reft.runtime.flags import Flag
from reft.runtime.processes import LAUNCHER, new_mark
from reft.service.app import HANDED_ON
from reft.service.keys import any_key
from reft.service.service import open_service
from reft.service.settings import ServiceSettings

# What runs beside the HTTP processes and ends with them; each reads all it needs from the database.
BESIDE = ("reft.service.checking", "reft.service.jobs.dispatcher", "reft.service.delivery")
TIDYING = 20.0  # seconds in which they may hand back what others shall take over
AGAIN = 1.0  # seconds before what has died is started again


def serve(settings: ServiceSettings, *, say: Callable[[str], object] = print) -> None:
    """Serve until told to stop.

    Raises:
        ConfigurationError: it would listen beyond loopback without a key, or the address is not free.
        StorageError: the state cannot be written.
    """
    service = open_service(settings)
    settings.models()  # what is wrong with the profile is said before anything listens
    with service.database.reading() as session:
        keyed = any_key(session)
    service.database.close()
    make = f"reft keys create --organization NAME --role customer --state {settings.state}"
    if settings.database:
        make += " and the --config of this server, if it has one"
    if not keyed and not settings.on_loopback:
        what = f"there is no key, and {settings.host} can be reached from elsewhere"
        raise ConfigurationError(explain(what, "--host", f"make one first: {make}"))
    ending = Flag()
    with _told_to_end(), _listening(settings) as sockets, _beside(settings, ending):
        host, port = sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        say(f"listening at http://{shown}:{port}/v1")
        if not keyed:
            say(f"nobody can use it yet: {make}")
        os.environ[HANDED_ON] = settings.model_dump_json()
        _run(settings, sockets, ending)


@contextmanager
def _told_to_end() -> Generator[None]:
    """SIGTERM ends this process as an exit does, so that those beside it are told; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(settings: ServiceSettings, sockets: list[socket.socket], ending: Flag) -> None:
    config = uvicorn.Config(
        "reft.service.app:app_from_environment", factory=True, workers=settings.workers, log_level="warning",
        access_log=False, server_header=False, timeout_graceful_shutdown=10,
    )  # fmt: skip
    if settings.workers == 1:
        _Server(config, ending).run(sockets=sockets)
    else:
        _Servers(config, sockets, ending).run()


class _Server(uvicorn.Server):
    """Answers what it is being asked when it is told to end; those beside it end meanwhile."""

    def __init__(self, config: uvicorn.Config, ending: Flag) -> None:
        super().__init__(config)
        self._ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal."""
        self._ending.set()
        super().handle_exit(sig, frame)


class _Servers(Multiprocess):
    """The same with several processes."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], ending: Flag) -> None:
        super().__init__(config, sockets)
        self._ending = ending

    def terminate_all(self) -> None:
        """The end, after whichever signal."""
        self._ending.set()
        super().terminate_all()


@contextmanager
def _listening(settings: ServiceSettings) -> Generator[list[socket.socket]]:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise ConfigurationError(explain(f"cannot listen: {error}", where, "name another --port or --host")) from error
    listener.set_inheritable(True)
    with listener:
        yield [listener]


@contextmanager
def _beside(settings: ServiceSettings, stop: Flag) -> Generator[None]:
    """The other processes, started again when they die; they end when told to, or with this one, however it ends."""
    file = _left(settings)
    watchers = [threading.Thread(target=_keep, args=(module, file, stop), daemon=True) for module in BESIDE]
    for watcher in watchers:
        watcher.start()
    try:
        yield
    finally:
        stop.set()
        for watcher in watchers:
            watcher.join()


def _left(settings: ServiceSettings) -> Path:
    """The settings as a file for the other processes, which may be reading it: whole, whenever they look."""
    settings.state.mkdir(parents=True, exist_ok=True)
    file = settings.state.absolute() / "settings.json"
    coming = file.with_name(f"settings.{os.getpid()}.part")
    coming.touch(mode=0o600)  # the database's address may hold a password
    coming.write_text(settings.model_dump_json())
    return coming.replace(file)


def _keep(module: str, file: Path, stop: Flag) -> None:
    while not stop.is_set():
        environment = {**os.environ, LAUNCHER: new_mark()}
        process = subprocess.Popen([sys.executable, "-m", module, str(file)], env=environment)
        while process.poll() is None and not stop.wait(0.2):
            pass
        process.terminate()
        try:
            process.wait(TIDYING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        stop.wait(AGAIN)
