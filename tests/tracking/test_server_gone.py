"""The MLflow server gone in the middle of a run, and back: a real one, killed and started again."""

import threading
import time

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from reft.errors import RegistryError
from reft.tracking.logging import log_folder, log_losses, log_metrics

pytestmark = pytest.mark.slow


def test_a_server_that_comes_back_misses_no_loss(plain_server):
    """The training waits for it: MLflow's client asks again, each time after twice as long."""
    with mlflow.start_run() as run:
        log = log_losses("teacher")
        for step in range(6):
            if step == 3:
                plain_server.kill()
                threading.Thread(target=plain_server.start).start()
            log({"step": step, "steps": 6, "loss": 6.0 - step})
    told = MlflowClient().get_metric_history(run.info.run_id, "teacher/loss")
    assert [(found.step, found.value) for found in told] == [(step, 6.0 - step) for step in range(6)]
    assert MlflowClient().get_run(run.info.run_id).info.status == "FINISHED"


def test_one_that_stays_away_ends_the_step_in_plain_words_and_the_next_start_works(plain_server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    run = mlflow.start_run()
    log = log_losses("teacher")
    log({"step": 0, "steps": 2, "loss": 2.0})
    plain_server.kill()
    (tmp_path / "page.html").write_text("x")
    calls = (
        lambda: log({"step": 1, "steps": 2, "loss": 1.0}),
        lambda: log_metrics("gate", {"passed": 1.0}),
        lambda: log_folder(tmp_path / "page.html", "report"),
    )
    for call in calls:
        started = time.monotonic()
        with pytest.raises(RegistryError) as told:
            call()
        assert time.monotonic() - started < 60
        assert "the MLflow server did not do it" in str(told.value)
        assert f"on {plain_server.address}" in str(told.value)
        assert "is MLFLOW_TRACKING_URI right and the server up?" in str(told.value)
    plain_server.start()
    for call in calls:
        call()
    mlflow.end_run()
    found = MlflowClient().get_run(run.info.run_id)
    assert found.data.metrics == {"teacher/loss": 1.0, "gate/passed": 1.0}
    assert [file.path for file in MlflowClient().list_artifacts(run.info.run_id, "report")] == ["report/page.html"]
