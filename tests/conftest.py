"""Tiny real models of several architectures, with a tokenizer trained here; nothing is downloaded."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from tests.factories import build_model
from tests.tiers import (  # noqa: F401 (hooks)
    pytest_collection_modifyitems,
    pytest_runtest_call,
    pytest_runtest_setup,
)

os.environ["HF_HUB_OFFLINE"] = "1"
# Tests that run beside one another share the cores, and so do the processes that they start.
if (beside := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1 if beside > 1 else 2)


def pytest_configure(config: pytest.Config) -> None:
    """ZenML reads and writes its configuration whenever a process first asks for it: one of two would read half."""
    if hasattr(config, "workerinput"):
        from zenml.client import Client

        with FileLock(Path(tempfile.gettempdir()) / "reft-tests-zenml.lock"):
            Client()


ARCHITECTURES = ("llama", "qwen2", "gpt_neox", "gpt2")


@pytest.fixture(autouse=True)
def no_experiment_is_handed_on():
    """MLflow leaves the chosen experiment's id in the environment: other stores, of later tests, know no such one."""
    yield
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)


@pytest.fixture(scope="session", params=ARCHITECTURES)
def any_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny model; the test runs once for each architecture."""
    return str(build_model(tmp_path_factory.mktemp(request.param), request.param))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny Llama."""
    return str(build_model(tmp_path_factory.mktemp("tiny"), "llama"))


@pytest.fixture(scope="session")
def tokenizer(tiny_model: str):
    from reft.models.loading import load_tokenizer

    return load_tokenizer(tiny_model)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """MLflow's tables without a row: to make them takes longer than most tests that need them."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(tmp_path, monkeypatch, empty_database):
    """An MLflow registry of its own."""
    import mlflow
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("e", artifact_location=(tmp_path / "a").as_uri()))
    yield MlflowClient()
    mlflow.set_tracking_uri(before)
