"""MLflow's pod for real: its manifest's command and environment on a PostgreSQL set up by the image's own script.

pytestmark = pytest.mark.slow

The store behind it is a folder here; tests/tracking has the server on an S3 store.
"""

import os
import runpy
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.databases import postgres, program, run
from tests.deploy.environment import environment_of, made, value
from tests.deploy.rendering import DEPLOY, Manifest, find, rendered
from tests.ports import free_port

DATABASES = DEPLOY / "base" / "databases"
SECONDS = 400  # half a minute on an idle machine: MLflow makes its tables twice


@contextmanager
def serving(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[str]:
    """The server, once its readiness probe would succeed; gives its address."""
    port = next(word.partition("=")[2] for word in command if word.startswith("--port="))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            for _ in range(SECONDS * 4):
                assert server.poll() is None, (folder / "log").read_text()[-3000:]
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                        break
                except OSError:
                    time.sleep(0.25)
            else:
                raise TimeoutError((folder / "log").read_text()[-3000:])
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(60)


def command_and_environment(
    folder: Path, database: dict[str, str]
) -> tuple[list[str], dict[str, str], dict[str, Manifest]]:
    """The manifest's own, with the addresses of the cluster replaced by those of this machine."""
    secrets = made()
    container = find(rendered("local-kind"), "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"][0]
    run("sh", str(DATABASES / "create_mlflow.sh"), environment=database | {
        "MLFLOW_DATABASE_PASSWORD": value(secrets, "reft-postgres", "mlflow-password")
    })  # fmt: skip

    def here(text: str) -> str:
        return text.replace("@postgres:5432", f"@127.0.0.1:{database['PGPORT']}")

    ini = folder / "basic_auth.ini"
    ini.write_text(here(value(secrets, "reft-mlflow", "basic_auth.ini")))
    environment = {name: here(text) for name, text in environment_of("mlflow", secrets).items()}
    environment |= {
        "MLFLOW_AUTH_CONFIG_PATH": str(ini), "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
        "HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(DEPLOY.parents[1]), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    swapped = {
        "--host=0.0.0.0": "--host=127.0.0.1",
        "--port=5000": f"--port={free_port()}",
        "--workers=2": "--workers=1",
    }
    return [swapped.get(word, word) for word in [*container["command"], *container["args"]]], environment, secrets


@pytest.mark.slow
def test_the_server_starts_and_the_runs_user_can_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    program("initdb")
    with postgres() as database:
        command, environment, secrets = command_and_environment(tmp_path, database)
        with serving(command, environment, tmp_path) as address:
            name, password = (value(secrets, "reft-run", f"MLFLOW_TRACKING_{key}") for key in ("USERNAME", "PASSWORD"))
            job = {
                "MLFLOW_TRACKING_URI": address, "MLFLOW_TRACKING_USERNAME": "admin",
                "MLFLOW_TRACKING_PASSWORD": value(secrets, "reft-mlflow", "admin-password"),
                "RUN_USER": name, "RUN_PASSWORD": password, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            }  # fmt: skip
            for variable, text in job.items():
                monkeypatch.setenv(variable, text)
            for _ in range(2):  # made, then found
                runpy.run_path(str(DATABASES / "create_run_user.py"), run_name="__main__")
            monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
            client = MlflowClient(address)
            experiment = client.create_experiment("first")
            client.log_text(client.create_run(experiment).info.run_id, "hello", "a.txt")
            assert [path.read_text() for path in (tmp_path / "artifacts").rglob("a.txt")] == ["hello"]
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
            with pytest.raises(MlflowException, match=r"401|authenticate"):
                client.create_experiment("second")
