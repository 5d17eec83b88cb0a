"""What `mlflow gc` takes, and what is said of a version whose files somebody deleted."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from reft.cli import app
from reft.errors import PromotionError, RegistryError
from reft.gate.gate import Champion
from reft.tracking.evaluations import champion_of, record_evaluation
from reft.tracking.promotion import promote, rollback
from reft.tracking.registry import files_of, gate_of, register_candidate


@pytest.fixture
def student(store, tmp_path):  # noqa: ARG001
    """A function that registers a version."""

    def register(content="x"):
        folder = tmp_path / f"student-{content}"
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_text(content)
        (folder / "gate.json").write_text('{"passed": true}')
        return register_candidate(folder, "s", {}, passed=True)

    return register


def source_of(version):
    return Path(MlflowClient().get_model_version("s", version).source.removeprefix("file://"))


@pytest.mark.slow
def test_a_champion_outlives_the_run_that_made_it(student):
    registered = student()
    promote("s", "champion", "me", version=registered.version)
    judged = Champion(outcomes={"accuracy": [True]}, rows="today", code="c")
    record_evaluation("s", registered.version, judged)
    MlflowClient().delete_run(registered.run_id)
    address = mlflow.get_tracking_uri()
    collect = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", address, "--tracking-uri", address]
    assert registered.run_id in subprocess.run(collect, capture_output=True, text=True, check=True).stdout
    with pytest.raises(MlflowException, match="not found"):
        MlflowClient().get_run(registered.run_id)
    with files_of("s", registered.version) as folder:
        assert (folder / "adapter_model.safetensors").read_text() == "x"
    assert Path(mlflow.artifacts.download_artifacts("models:/s@champion"), "MLmodel").is_file()
    assert gate_of("s", registered.version) == {"passed": True}
    assert champion_of("s", registered.version, rows="today") == judged
    record_evaluation("s", registered.version, replace(judged, rows="tomorrow"))
    assert champion_of("s", registered.version, rows="tomorrow").rows == "tomorrow"
    assert CliRunner().invoke(app, ["history", "s"]).exit_code == 0


def test_files_that_are_gone_are_named_with_a_remedy(student):
    first, second = student("a").version, student("b").version
    for version in (first, second):
        promote("s", "champion", "me", version=version)
    shutil.rmtree(source_of(first))
    calls = (
        lambda: rollback("s", "me"),
        lambda: promote("s", "challenger", "me", version=first),
        lambda: gate_of("s", first),
        lambda: files_of("s", first).__enter__(),
    )
    for call in calls:
        with pytest.raises(PromotionError, match=rf"files are gone(.|\n)*s version {first}(.|\n)*restore"):
            call()
    assert CliRunner().invoke(app, ["history", "s"]).exit_code == 0  # no alias names it
    shutil.rmtree(source_of(second))
    told = CliRunner().invoke(app, ["history", "s"])
    assert "champion: 1 -> 2 by me" in told.stdout
    assert f"s version {second}" in str(told.exception)


@pytest.mark.parametrize("call", ["log_model_artifacts", "finalize_logged_model", "create_model_version"])
def test_a_registration_that_fails_half_way_leaves_no_empty_model(student, store, monkeypatch, call):
    def fail(*_, **__):
        raise MlflowException("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, fail)
        with pytest.raises(RegistryError, match="the disk is full"):
            student("a")
    assert store.search_registered_models() == []
    student("b")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, fail)
        with pytest.raises(RegistryError, match="the disk is full"):
            student("c")
    assert [str(version.version) for version in store.search_model_versions("name = 's'")] == ["1"]
