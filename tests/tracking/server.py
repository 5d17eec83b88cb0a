"""A real MLflow server as a team would run it: PostgreSQL, an S3 store, passwords; started here, on 127.0.0.1 alone."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port

BUCKET = "models"
ADMIN, PASSWORD = "admin", "a long pass word for tests"
USER, USER_PASSWORD = "pipeline", "another long pass word"
OTHER, OTHER_PASSWORD = "colleague", "a third long pass word"


def postgres_programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None where there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    if folders:
        return folders[-1]
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _account() -> str | None:
    """Whom PostgreSQL runs as: it refuses root; None: whoever runs the tests."""
    if os.geteuid():
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


@contextmanager
def postgres(programs: Path) -> Generator[str]:
    """A database cluster of its own behind a Unix socket; gives SQLAlchemy's address with NAME in place of a database.

    Its folder lies outside pytest's, which only the tests' own user may enter.
    """
    folder, account = Path(tempfile.mkdtemp(prefix="reft-pg-")), _account()
    if account:
        shutil.chown(folder, account)
    log = (folder / "log").open("w")
    server = None

    def run(*command: str) -> None:
        subprocess.run(command, check=True, user=account, cwd=folder, stdout=log, stderr=subprocess.STDOUT)

    try:
        run(str(programs / "initdb"), "-D", str(folder / "data"), "-U", "reft", "-A", "trust", "--no-sync")
        options = [f"-cunix_socket_directories={folder}", "-clisten_addresses=", "-cfsync=off"]
        command = [str(programs / "postgres"), "-D", str(folder / "data"), *options]
        server = subprocess.Popen(command, user=account, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        ready = [str(programs / "pg_isready"), "-h", str(folder), "-q"]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, 120)
        for name in ("mlflow", "auth"):
            run(str(programs / "createdb"), "-h", str(folder), "-U", "reft", name)
        yield f"postgresql://reft@/NAME?host={folder}"
    finally:
        if server:
            server.send_signal(signal.SIGINT)  # a fast shutdown
            server.wait(60)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def s3() -> Generator[dict[str, str]]:
    """An S3 server with an empty bucket; gives the environment that its clients need."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "word", "AWS_DEFAULT_REGION": "us-east-1"}
    try:
        environment = {**keys, "MLFLOW_S3_ENDPOINT_URL": f"http://{host}:{port}"}
        bucket_of(environment).create()
        yield environment
    finally:
        boto3.DEFAULT_SESSION = None
        server.stop()


def bucket_of(environment: dict[str, str]):
    """The bucket, as boto3 knows it."""
    import boto3

    session = boto3.Session(
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1"
    )
    return session.resource("s3", endpoint_url=environment["MLFLOW_S3_ENDPOINT_URL"]).Bucket(BUCKET)


@dataclass
class Server:
    """`mlflow server`, which can be killed and started again at the same address on the same stores."""

    folder: Path
    database: str
    store: dict[str, str]
    port: int = 0
    process: subprocess.Popen | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.port = self.port or free_port()
        config = self.folder / "auth.ini"
        config.write_text(
            f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {self.database.replace('NAME', 'auth')}\n"
            f"admin_username = {ADMIN}\nadmin_password = {PASSWORD}\nauth_cache_ttl_seconds = 60\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        command = [
            Path(sys.executable).with_name("mlflow"), "server", "--app-name", "basic-auth", "--workers", "1",
            "--backend-store-uri", self.database.replace("NAME", "mlflow"), "--artifacts-destination", f"s3://{BUCKET}",
            "--host", "127.0.0.1", "--port", str(self.port), "--allowed-hosts", f"127.0.0.1:{self.port}",
        ]  # fmt: skip
        environment = {
            **os.environ, **self.store, "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "for tests", "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }  # fmt: skip
        self.process = launch(command, environment, self.folder, health=f"{self.address}/health")

    def kill(self) -> None:
        """SIGKILL to the server and its workers, as a machine that loses power."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


def launch(command: list[str | Path], environment: dict[str, str], folder: Path, *, health: str) -> subprocess.Popen:
    """A server in a session of its own, once it answers; what it says is in the folder's `server.log`."""
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=folder
        )
    wait_until(lambda: answers(health), 240)
    return process


def answers(address: str) -> bool:
    """Whether something answers there, be it with a refusal."""
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def wait_until(ready, seconds: float) -> None:
    """Wait for it to be so; raises TimeoutError."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError("a server that the tests started did not answer in time")
        time.sleep(0.1)
