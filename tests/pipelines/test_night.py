"""Whole runs in a bad night: killed, told to end, two at once, a disk that is full when the results are due."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file

from reft.tracking.registry import LOGGED
from tests.pipelines.clone import Clone, ended, kill_all, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.night]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return Clone.make(tmp_path_factory.mktemp("night") / "clone")


def weights(clone, runs):
    found = load_file(clone.folder / runs / "latest" / "student" / "adapter_model.safetensors")
    return {name: tensor.tolist() for name, tensor in found.items()}


def test_killed_in_its_finetuning_and_started_again_it_ends_as_if_nothing_had_been(clone):
    process = clone.start(clone.profile("killed", seed=1))
    wait_for(lambda: clone.steps() >= 50)
    kill_all(process)
    assert not (clone.folder / "killed").exists()
    code, said = clone.run(clone.profile("killed", seed=1))
    assert code == 0, said
    assert "reused from earlier runs: " in said
    code, said = clone.run(clone.profile("undisturbed", seed=1, cache=False))
    assert code == 0, said
    assert weights(clone, "killed") == weights(clone, "undisturbed")


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_it_leaves_nothing_and_the_next_start_goes_on(clone, told):
    name, before = told.name.lower(), set(clone.left())  # a killed run leaves what libraries made
    cut_off = clone.metrics()
    process = clone.start(clone.profile(name, seed=int(told)))
    wait_for(lambda: clone.steps(cut_off) >= 50)
    os.kill(process.pid, told)
    code, said = ended(process)
    assert code != 0
    assert "Traceback" not in said
    if told == signal.SIGTERM:  # ZenML itself has words for the other one
        assert said.rstrip().endswith("stopped: start the same command again; it goes on where it was")
    wait_for(lambda: not clone.processes(), seconds=20)
    assert set(clone.left()) <= before
    code, said = clone.run(clone.profile(name, seed=int(told)))
    assert code == 0, said


def test_two_runs_at_once_both_end_and_their_folder_holds_one_of_them_whole(clone):
    profiles = [clone.profile(f"at-once-{seed}", seed=seed, tracking={"runs_folder": "both"}) for seed in (21, 22)]
    for process in [clone.start(profile) for profile in profiles]:
        code, said = ended(process)
        assert code == 0, said
    assert [path.name for path in (clone.folder / "both").iterdir()] == ["latest"]
    latest = clone.folder / "both" / "latest"
    named = json.loads((latest / "summary.json").read_text())["models"]["student"]
    client = MlflowClient(clone.environment["MLFLOW_TRACKING_URI"])
    version = client.get_model_version(named["registered_name"], named["version"])
    registered = Path(client.get_logged_model(version.tags[LOGGED]).artifact_location.removeprefix("file://"))
    ours, card = ((latest / "student" / name).read_bytes() for name in ("adapter_model.safetensors", "README.md"))
    assert ours == (registered / "adapter_model.safetensors").read_bytes()
    assert card == (registered / "README.md").read_bytes()


def test_a_full_or_read_only_disk_for_the_results_keeps_the_last_ones_and_is_named(clone):
    profile = clone.profile("small")
    runs = clone.folder / "small"
    runs.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(runs)], check=False).returncode:
        pytest.skip("no mounting here")
    try:
        (runs / "latest").mkdir()
        (runs / "latest" / "summary.json").write_text("{}")
        code, said = clone.run(profile)
        assert code != 0
        assert "No space left on device" in said
        assert "small" in said
        assert [path.name for path in runs.iterdir()] == ["latest"]
        assert (runs / "latest" / "summary.json").read_text() == "{}"
        subprocess.run(["mount", "-o", "remount,ro", str(runs)], check=True)
        code, said = clone.run(profile)
        assert code != 0
        assert "Read-only file system" in said
    finally:
        subprocess.run(["umount", str(runs)], check=True)
    code, said = clone.run(profile)
    assert code == 0, said
    assert weights(clone, "small")
