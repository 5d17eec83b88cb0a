import mlflow
import pytest

from reft.tracking import logging as tracking
from reft.tracking.registry import register_candidate


def test_a_run_holds_losses_settings_and_data_sets(store, tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}")
    with mlflow.start_run() as run:
        log = tracking.log_losses("teacher")
        for step in (1, 2, 3):
            log({"step": step, "steps": 3, "loss": 1 / step})
        tracking.log_metrics("filter", {"fpr": 0.5, "recall": None})
        tracking.log_settings("model", {"name": "x" * 2000})
        tracking.log_dataset(str(tmp_path / "rows.jsonl"), "user", "abc")
        tracking.log_folder(tmp_path / "rows.jsonl", "data")
    found = store.get_run(run.info.run_id)
    assert [m.value for m in store.get_metric_history(run.info.run_id, "teacher/loss")] == [1.0, 0.5, 1 / 3]
    assert found.data.metrics["filter/fpr"] == 0.5
    assert "filter/recall" not in found.data.metrics
    assert found.inputs.dataset_inputs[0].dataset.digest == "abc"


@pytest.mark.usefixtures("store")
def test_nothing_is_logged_outside_of_a_run(tmp_path):
    tracking.log_losses("x")({"step": 1, "loss": 1.0})
    tracking.log_metrics("x", {"y": 1.0})
    tracking.log_settings("x", {"y": 1})
    tracking.log_dataset(str(tmp_path), "user", "abc")
    tracking.log_folder(tmp_path, "data")
    assert mlflow.search_runs(search_all_experiments=True).empty


def test_the_candidate_alias_moves_to_the_newest_version(store, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "adapter_model.safetensors").write_bytes(b"x")
    first = register_candidate(tmp_path / "model", "student", {"accuracy": "0.9"})
    second = register_candidate(tmp_path / "model", "student", {"accuracy": "0.8"})
    assert (first.version, second.version) == ("1", "2")
    found = store.get_model_version_by_alias("student", "candidate")
    assert str(found.version) == second.version
    assert found.tags["accuracy"] == "0.8"
    files = {file.path.split("/")[-1] for file in mlflow.artifacts.list_artifacts(found.source)}
    assert files == {"adapter_model.safetensors", "MLmodel"}
