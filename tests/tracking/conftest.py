"""The server that a team would run, and a model of one's own on it."""

import json
import shutil

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from reft.tracking.registry import register_candidate
from tests.tracking.plain_server import PlainServer
from tests.tracking.server import (
    ADMIN,
    OTHER,
    OTHER_PASSWORD,
    PASSWORD,
    USER,
    USER_PASSWORD,
    Server,
    postgres,
    postgres_programs,
    s3,
)


@pytest.fixture(scope="package")
def server(tmp_path_factory):
    """One server for all tests of this folder; each uses a model of its own."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    pytest.importorskip("psycopg2")
    with postgres(programs) as database, s3() as store:
        server = Server(tmp_path_factory.mktemp("mlflow-server"), database, store)
        try:
            server.start()
            with pytest.MonkeyPatch.context() as patch:
                log_in(patch, ADMIN, PASSWORD)
                from mlflow.server import get_app_client

                client = get_app_client("basic-auth", server.address)
                client.create_user(USER, USER_PASSWORD)
                client.create_user(OTHER, OTHER_PASSWORD)
            yield server
        finally:
            if server.process and server.process.poll() is None:
                server.kill()


def log_in(patch, user, password):
    patch.setenv("MLFLOW_TRACKING_USERNAME", user)
    patch.setenv("MLFLOW_TRACKING_PASSWORD", password)


@pytest.fixture
def name(server, monkeypatch, request):
    """A model's name; MLflow is set to the server, as the pipeline's user."""
    log_in(monkeypatch, USER, USER_PASSWORD)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server.address)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment(request.node.name))
    yield request.node.name[:40]
    mlflow.set_tracking_uri(before)


@pytest.fixture
def on_server(name, tmp_path):
    """A function that registers a version."""

    def register(content, size=1000):
        return register_candidate(
            folder_of(tmp_path, content, size), name, {"made": content}, description="a card", passed=True
        ).version

    return register


def folder_of(tmp_path, content, size=1000):
    folder = tmp_path / f"student-{content}"
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(content.encode() * size)
    (folder / "deep" / "tokenizer.json").write_text(content)
    (folder / "gate.json").write_text(json.dumps({"passed": True, "rows": content}))
    return folder


def leave_a_lock(name, holder):
    MlflowClient().create_registered_model(f"{name}--promotion-lock", tags={"held": "0", "holder": holder})


@pytest.fixture
def plain_server(tmp_path, monkeypatch, empty_database):
    """A server without accounts, which MLflow's client here talks to."""
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    server, before = PlainServer(tmp_path), mlflow.get_tracking_uri()
    server.start()
    mlflow.set_tracking_uri(server.address)
    mlflow.set_experiment("e")
    yield server
    mlflow.set_tracking_uri(before)
    server.kill()
