"""A cluster, its client, and a job small enough for a kubelet that only pretends to train."""

import json
from pathlib import Path

import pytest
import urllib3
import yaml

from reft.cluster.client import API_CALLS, JOB, ClusterClient
from reft.config import ClusterSettings, FinetuningSettings, ModelSettings
from reft.conversations.tokenization import Encoded
from reft.finetuning.job import FINISHED, FinetuneJob
from tests.cluster.server import Cluster
from tests.s3 import bucket_here

QUICK = urllib3.Retry(
    total=3,
    backoff_factor=0.01,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    raise_on_status=False,
)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    server = Cluster()
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "reft"}}],
        "current-context": "x",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr("reft.cluster.run.LOOK_SECONDS", 1)
    monkeypatch.setattr("reft.cluster.run.VISIBLE_SECONDS", 0.5)
    yield server
    server.stop()
    assert not server.errors
    assert server.calls <= API_CALLS


@pytest.fixture
def client(cluster):  # noqa: ARG001 (it sets KUBECONFIG)
    return ClusterClient("reft", QUICK)


@pytest.fixture
def settings(tmp_path):
    return ClusterSettings(work_mount=str(tmp_path / "work"), gpus_per_node=0, nodes=1)


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "work" / "jobs" / "0a1b2c3d4e5f"
    found.mkdir(parents=True)
    return found


@pytest.fixture
def small_job():
    row = Encoded(input_ids=(1, 2, 3), turns=(), completion=(1, 3), instruction_end=0, prompt_end=0, learnt=((1, 3),))
    plain = FinetuningSettings(batch_size=4, launcher="trainjob")
    return FinetuneJob(
        model=ModelSettings(name="somebody/some-model"),
        settings=plain,
        seed=0,
        user=(row,) * 8,
        row_numbers=tuple(range(8)),
    )


def folder_of(job):
    return Path(job["metadata"]["annotations"]["reft/folder"])


def step(folder, *numbers):
    """What rank 0 writes after a step."""
    with (folder / "metrics.jsonl").open("a") as lines:
        for number in numbers:
            lines.write(json.dumps({"step": number, "steps": 4, "loss": 1 / number, "tokens": 10 * number}) + "\n")


def finish(cluster, job):
    """What rank 0 leaves at the end, and what the Trainer then says."""
    folder, name = folder_of(job), job["metadata"]["name"]
    (folder / "output").mkdir(exist_ok=True)
    (folder / "output" / "adapter_config.json").write_text('{"base_model_name_or_path": "copy"}')
    (folder / FINISHED).touch()
    cluster.pod(name, 0, "Succeeded")
    cluster.condition(name, "Complete", "JobsCompleted")


def train(cluster, job):
    """A kubelet whose pods do all four steps."""
    name = job["metadata"]["name"]
    for node in range(job["spec"]["trainer"]["numNodes"]):
        pod = cluster.pod(name, node)
    for number in range(1, 5):
        step(folder_of(job), number)
        cluster.say(cluster.pod(name, 0), f"step {number}")
    assert pod
    finish(cluster, job)


def ended(reason, code=1, at="2026-01-01T00:00:00Z"):
    """A container's status after its end."""
    state = {"terminated": {"reason": reason, "exitCode": code, "finishedAt": at}}
    known = {"name": "node", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    return [{**known, "state": state}]


def requests(cluster, verb, resource="trainjobs"):
    return [said for v, r, said in cluster.requests if (v, r) == (verb, resource)]


@pytest.fixture
def jobs(cluster, monkeypatch, tmp_path):
    """The cluster, which allows what a validation needs and no more."""
    monkeypatch.chdir(tmp_path)
    cluster.allowed = JOB.calls
    yield cluster
    assert cluster.calls <= JOB.calls
    cluster.calls.clear()


@pytest.fixture
def bucket():
    """The address of a bucket on a server of its own."""
    with bucket_here() as address:
        yield address
