"""Promotion as a ZenML pipeline: MLflow's aliases, ZenML's stages and lineage, and who is told."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    environment = os.environ | {
        "ZENML_CONFIG_PATH": str(folder / "zenml"), "ZENML_REPOSITORY_PATH": str(folder),
        "ZENML_LOGGING_VERBOSITY": "ERROR", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PYTHONPATH": ".",
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.pipelines.promote_for_real", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_lineage_can_be_walked_from_zenmls_side(found):
    assert sorted(found["zenml"]) == found["names"]
    first = found["zenml"]["mlflow-1"]
    assert first["rows"] == ["row 0", "row 1", "row 2"]
    assert len(found["zenml"]["mlflow-2"]["rows"]) == 5
    assert first["metadata"]["mlflow_version"] == "1"
    assert first["metadata"]["rows_kept"] == found["tags"]["rows_kept"] == "3"


def test_the_stage_follows_the_alias_and_a_failed_gate_changes_nothing(found):
    assert found["champion"] == "1"
    assert found["zenml"]["mlflow-1"]["stage"] == "production"
    assert found["zenml"]["mlflow-2"]["stage"] in (None, "none")


def test_people_are_told_of_promotions_and_failures(found):
    told = found["told"].split("\n---\n")
    assert told[0] == "ReFT: student version 1 is the challenger now (by reviewer; good)"
    assert told[1].startswith("ReFT: student version 1 is the champion now")
    assert told[2].startswith("ReFT: step promote of run reft_promotion-")
    assert "has not passed the gate" in told[2]
    assert "to nobody" not in found["told"]
