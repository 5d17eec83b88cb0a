"""`reft scan --cluster`: the same command on the nodes, its result here."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from reft.cli import app
from reft.cluster.scan import scan_on_cluster
from reft.errors import ConfigurationError, TrainingError
from tests.cluster.conftest import ended, requests
from tests.factories import row, write_jsonl


def scanned(cluster, job):
    """A kubelet whose ranks sort all rows."""
    command = job["spec"]["trainer"]["command"]
    out = command[command.index("--out") + 1]
    with open(f"{out}/scan.json", "w") as file:
        json.dump({"rows": 1, "counts": {"kept": 0, "dropped": 1, "quarantined": 0}}, file)
    cluster.say(cluster.pod(job["metadata"]["name"], 0, "Succeeded"), "sorted")
    cluster.condition(job["metadata"]["name"], "Complete", "JobsCompleted")


def test_the_command_runs_on_the_nodes_and_says_what_it_found(cluster, settings, folder, tmp_path):
    cluster.kubelet = scanned
    data, out = write_jsonl(folder / "rows.jsonl", [row("q", "a")]), folder / "scanned"
    profile = tmp_path / "run.yaml"
    changed = {"work_mount": settings.work_mount, "nodes": 2, "gpus_per_node": 4}
    profile.write_text(yaml.safe_dump({"parameters": {"settings": {"cluster": changed}}}))
    options = ["--teacher", "none", "--fpr", "0.02", "--cluster", str(profile)]
    done = CliRunner().invoke(app, ["scan", str(data), "--out", str(out), *options])
    assert done.exit_code == 3, done.output  # a row was removed
    assert "1 rows: 0 kept, 1 dropped, 0 quarantined" in done.output
    (created,) = requests(cluster, "create")
    trainer = created["spec"]["trainer"]
    assert trainer["command"][:7] == ["torchrun", "-m", "reft.cli", "scan", str(data), "--out", str(out)]
    assert {"--teacher=none", "--fpr=0.02"} < set(trainer["command"])
    assert not any("cluster" in part for part in trainer["command"][7:])
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert not cluster.jobs
    assert (folder / "scanned.log").read_text() == "sorted\n"


def test_a_scan_that_fails_shows_its_log_and_never_an_older_result(cluster, client, settings, folder):
    def dies(cluster, job):
        pod = cluster.pod(job["metadata"]["name"], 0, "Failed", containerStatuses=ended("Error"))
        cluster.say(pod, "error: no teacher there")
        cluster.condition(job["metadata"]["name"], "Failed", "JobFailed")

    cluster.kubelet = dies
    data, out = write_jsonl(folder / "rows.jsonl", [row("q", "a")]), folder / "scanned"
    out.mkdir()
    (out / "scan.json").write_text("{}")
    with pytest.raises(TrainingError, match="no teacher there"):
        scan_on_cluster(str(data), out, [], settings=settings, client=client)
    assert not (out / "scan.json").exists()


def test_rows_that_the_nodes_do_not_see_are_refused(settings, folder, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [row("q", "a")])
    with pytest.raises(ConfigurationError, match="would not find the rows"):
        scan_on_cluster(str(data), folder / "scanned", [], settings=settings)
