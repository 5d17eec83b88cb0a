"""Real database servers for the tests of the backup scripts, each on a free port of 127.0.0.1."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

SECONDS = 120
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def program(name: str) -> str:
    """The path of a database's program; the test is skipped where it is not installed."""
    places = os.pathsep.join([*map(str, BINARIES[:1]), "/usr/sbin", os.environ.get("PATH", "")])
    return shutil.which(name, path=places) or pytest.skip(f"{name} is not installed, and the test runs it for real")


def _owner() -> str | None:
    """The user to run a server as: they refuse to run as root."""
    return "nobody" if os.getuid() == 0 else None


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of the server's user. Not below pytest's own, which root lets nobody else enter."""
    with tempfile.TemporaryDirectory(prefix="reft-database-") as name:
        owner = _owner()
        if owner:
            account = pwd.getpwnam(owner)
            os.chown(name, account.pw_uid, account.pw_gid)
        yield Path(name)


def run(*command: str, environment: Mapping[str, str] | None = None, stdin: str | None = None) -> str:
    """Run one program to its end and give its output; its complaint is the test's."""
    places = os.pathsep.join([*map(str, BINARIES[:1]), os.environ["PATH"]])
    env = {"PATH": places, "LC_ALL": "C", **(environment or {})}
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=SECONDS, env=env)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def _serving(
    command: list[str], folder: Path, ready: list[str], *, stop: signal.Signals = signal.SIGTERM
) -> Iterator[None]:
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, user=_owner(), cwd=folder)
        try:
            for _ in range(SECONDS * 10):
                if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
                    break
                assert server.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.1)
            else:
                raise TimeoutError((folder / "server.log").read_text())
            yield
        finally:
            server.send_signal(stop)
            server.wait(SECONDS)


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL server's files and port: it may be stopped and started again."""

    data: Path
    port: str

    @property
    def environment(self) -> dict[str, str]:
        """The administrator's, for libpq's programs."""
        return {"PGHOST": "127.0.0.1", "PGPORT": self.port, "PGUSER": "postgres", "PGDATABASE": "postgres"}

    @contextmanager
    def running(self) -> Iterator[None]:
        """The server, until the block ends."""
        command = [program("postgres"), "-D", str(self.data), "-p", self.port, "-k", "", "-h", "127.0.0.1", "-F"]
        ready = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", self.port]
        with _serving(command, self.data, ready, stop=signal.SIGINT):  # it waits for no client
            yield


@contextmanager
def postgres_cluster() -> Iterator[Cluster]:
    """A new PostgreSQL server, not started yet."""
    with _folder() as data:
        setup = [program("initdb"), "--pgdata", str(data), "--username=postgres", "--auth=trust", "--no-sync"]
        subprocess.run(setup, check=True, capture_output=True, user=_owner(), cwd=data)
        yield Cluster(data, str(free_port()))


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """A PostgreSQL server; gives the administrator's environment for libpq's programs."""
    with postgres_cluster() as cluster, cluster.running():
        yield cluster.environment


@contextmanager
def mysql() -> Iterator[dict[str, str]]:
    """A MariaDB server, the MySQL that Debian has; gives the scripts' environment of the user `zenml`."""
    port = str(free_port())
    with _folder() as data:
        setup = [program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", "--skip-test-db"]
        setup.append("--auth-root-authentication-method=normal")
        subprocess.run(setup, check=True, capture_output=True, user=_owner(), cwd=data)
        server = [program("mariadbd"), "--no-defaults", f"--datadir={data}", f"--socket={data}/s", f"--port={port}"]
        server += ["--bind-address=127.0.0.1", "--character-set-server=utf8mb4"]
        small = ["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0"]
        root = [program("mysql"), "--no-defaults", "--host=127.0.0.1", f"--port={port}", "--user=root"]
        with _serving([*server, *small], data, [*root, "--execute=SELECT 1"]):
            # What the image does with MYSQL_DATABASE, MYSQL_USER and MYSQL_PASSWORD.
            grant = "CREATE DATABASE zenml; CREATE USER zenml IDENTIFIED BY 'pass'; GRANT ALL ON zenml.* TO zenml;"
            run(*root, stdin=grant)
            yield {"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": port, "MYSQL_USER": "zenml", "MYSQL_PASSWORD": "pass"}
