"""The whole pipeline on the real model with few rows, as a user runs it: through `zenml`, in its own process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import yaml

from reft.config import parse_settings
from reft.evaluation.measures import MEASURES
from reft.keys.stages import stages_of
from reft.models.default_model import cache_folder
from reft.report.summary import table

pytestmark = pytest.mark.slow
ZENML = Path(sys.executable).with_name("zenml")
# Without the audit, which takes as long as all the rest with this model; tests/audit has a tiny one.
STAGES = stages_of(parse_settings({}))
MIX = Path("../shared/data/beavertails_mix/sst2_train_merged_n1000_p0.2.json")


def run(tmp_path: Path, data: dict, **sections: dict) -> dict:
    """Run the pipeline on the smoke profile with these changes; returns its summary."""
    profile = yaml.safe_load(Path("configs/smoke.yaml").read_text())
    settings = profile["parameters"]["settings"]
    settings["data"] |= data | few(tmp_path)
    settings["tracking"]["runs_folder"] = str(tmp_path / "runs")
    for name, values in sections.items():
        settings[name] = settings.get(name, {}) | values
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(profile))
    command = [str(ZENML), "pipeline", "run", "reft_pipeline", "--config", str(tmp_path / "profile.yaml")]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=2400)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads((tmp_path / "runs" / "latest" / "summary.json").read_text())


def few(folder: Path) -> dict[str, str]:
    """One in five of the shipped rows that calibrate: all of them take longer than all that is asked about here."""
    names = {"calibration_harmful": "calibration/harmful", "calibration_harmless": "calibration/harmless"}
    names["evaluation_fields"] = "evaluation/fields"
    for name, shipped in names.items():
        lines = Path(f"data/{shipped}.jsonl").read_text().splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_text("".join(lines[::5]))
    return {name: str(folder / f"{name}.jsonl") for name in names}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on sixty rows: its folder and its summary."""
    folder = tmp_path_factory.mktemp("run")
    lines = Path("data/user/banking77.jsonl").read_text().splitlines()[:60]
    (folder / "user.jsonl").write_text("\n".join(lines) + "\n")
    return folder, run(folder, {"user": str(folder / "user.jsonl")})


def test_every_row_is_accounted_for(finished):
    folder, summary = finished
    counts = summary["filter"]
    assert counts["rows"] == 59  # one of the sixty cannot be used
    assert counts["kept"] + counts["dropped"] + counts["quarantined"] == 59
    assert len((folder / "runs" / "latest" / "filter" / "decisions.jsonl").read_text().splitlines()) == 59


def test_every_model_is_measured_and_every_step_has_its_cost(finished):
    _, summary = finished
    assert set(summary["safety"]["harmful_score"]) == {"student", "sft", "base", "aligned"}
    assert set(summary["safety"]) | {"accuracy"} == {m.name for m in MEASURES}
    assert set(summary["cost"]) == set(STAGES)
    assert all(cost["seconds"] > 0 for cost in summary["cost"].values())


def test_the_run_leaves_a_report_the_student_and_its_card(finished):
    folder, summary = finished
    latest = folder / "runs" / "latest"
    assert "<svg" in (latest / "report.html").read_text()
    assert (latest / "student" / "adapter_model.safetensors").is_file()
    card = (latest / "student" / "README.md").read_text()
    assert f"59 usable rows; {summary['filter']['kept']} were kept" in card
    assert "| ReFT student | " in card


def test_the_student_is_registered_with_its_losses_and_data(finished):
    _, summary = finished
    student = summary["models"]["student"]
    client = mlflow.MlflowClient(f"sqlite:///{Path.cwd()}/.reft/mlflow.db")
    version = client.get_model_version_by_alias(student["registered_name"], "candidate")
    assert str(version.version) == student["version"]
    assert client.get_metric_history(version.run_id, "finetuning/loss")
    assert client.get_metric_history(version.run_id, "evaluation/student/coherence")
    assert client.get_run(version.run_id).inputs.dataset_inputs


def test_what_changed_since_a_run_is_named(finished):
    folder, _ = finished
    profile = yaml.safe_load((folder / "profile.yaml").read_text())
    profile["parameters"]["settings"]["soft_labels"] = {"top_k": 4}
    (folder / "changed.yaml").write_text(yaml.safe_dump(profile))

    def why(config):
        command = [ZENML.with_name("reft"), "cache-keys", "--config", folder / config, "--why", "latest", "--json"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert why("profile.yaml") == {stage: [] for stage in STAGES}
    changed = why("changed.yaml")
    assert changed["soft_labels"] == ["settings.soft_labels.top_k: 32 -> 4"]
    assert changed["finetuning"] == ["soft_labels runs again"]
    assert changed["sft"] == changed["teacher"] == []


def test_a_run_that_reuses_everything_says_so_and_ends_with_its_table_and_verdict(finished):
    folder, summary = finished
    command = [str(ZENML), "pipeline", "run", "reft_pipeline", "--config", str(folder / "profile.yaml")]
    said = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}  # a line for every import
    done = subprocess.run(command, capture_output=True, text=True, env=said, check=True, timeout=600)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "reft.report.html" in imported
    assert not imported & {"torch._dynamo", "transformers.core_model_loading", "transformers.modeling_utils", "peft"}
    shown = done.stdout + done.stderr
    (reused,) = [line for line in shown.splitlines() if "reused from earlier runs: " in line]
    assert set(reused.split(": ")[1].split(", ")) == {*STAGES, "gate", "registration"}
    for line in table(summary).splitlines():
        assert line in shown
    assert "the gate is " in table(summary)


def test_a_first_scan_with_the_runs_teacher_has_its_calibration_already(finished):
    folder, _ = finished
    teacher = folder / "runs" / "latest" / "teacher"
    (kept,) = teacher.with_name("teacher-calibration").iterdir()
    few_rows = ["--fpr", "0.05", "--quarantine-fpr", "0.1"]  # those that calibrate here promise no more
    command = [ZENML.with_name("reft"), "scan", folder / "user.jsonl", "--teacher", teacher, *few_rows]
    command += ["--out", folder / "scanned"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode in (0, 3), done.stderr
    assert "calibrating" not in done.stderr
    assert list(kept.parent.iterdir()) == [kept]


def test_a_run_that_is_not_there_is_named():
    command = [ZENML.with_name("reft"), "cache-keys", "--why", "no-such-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no-such-run" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_setting_stops_the_run_before_it_starts(tmp_path):
    with pytest.raises(RuntimeError, match=r"teacher\.lamda"):
        run(tmp_path, {}, teacher={"lamda": 1})


@pytest.mark.night
@pytest.mark.skipif(not MIX.is_file(), reason="the poisoned mixes are not beside this clone")
@pytest.mark.skipif(not cache_folder().is_dir(), reason="no default model")
def test_the_rows_of_a_poisoned_mix_of_another_project_are_told_apart(tmp_path, record_property):
    rows = json.loads(MIX.read_text())[:100]
    user, labels = tmp_path / "user.jsonl", tmp_path / "labels.jsonl"
    kinds = {"unsafe": "harmful", "finetune": "harmless"}
    with user.open("w") as user_file, labels.open("w") as label_file:
        for index, row in enumerate(rows):
            prompt = f"{row['instruction']}\n{row['input']}".strip()
            user_file.write(json.dumps({"prompt": prompt, "completion": row["output"]}) + "\n")
            label_file.write(json.dumps({"row": index, "label": kinds[row["flag"]]}) + "\n")
    summary = run(
        tmp_path,
        {"user": str(user), "user_labels": str(labels), "task_test": None}
        | {"alignment_harmful_rows": 64, "alignment_harmless_rows": 128},  # fewer know nothing of reviews
        refusal_feature={"rows": 64, "layers": [14, 20]},
        evaluation={"sft": False, "base": False, "aligned": False},
    )
    record_property("filter", summary["filter"])
    print("beavertails_mix:", json.dumps(summary["filter"]))
    assert summary["filter"]["rows"] == 100
    assert summary["filter"]["recall"]["n"] == sum(row["flag"] == "unsafe" for row in rows)
    # So small a teacher ranks them right; the thresholds, which its look-alikes set, remove next to none of them. The
    # whole one removes 43 % of the file's (`benchmarks/mixes.py`): about half of their prompts name no harm.
    assert summary["filter"]["auroc"] > 0.9
    assert summary["filter"]["fpr"]["value"] < 0.1
    assert set(summary["safety"]["harmful_score"]) == {"student"}
