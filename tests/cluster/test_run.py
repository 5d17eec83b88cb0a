"""The launcher against an API server that speaks HTTP, checks every TrainJob and allows no more than API_CALLS."""

import json
import time
from dataclasses import replace

import pytest

from reft.cluster.client import API_CALLS, ClusterClient, Conflict, Missing
from reft.cluster.finetuning import run_on_cluster
from reft.cluster.trainjob import trainjob
from reft.errors import ClusterError, ConfigurationError
from reft.finetuning.job import FinetuneJob
from tests.cluster.conftest import QUICK, ended, finish, folder_of, requests, step, train
from tests.cluster.schema import Refused

pytestmark = pytest.mark.slow  # a cluster that takes its time


def manifest(folder, settings):
    """What run_on_cluster makes of the folder."""
    return trainjob(f"reft-{folder.name}", ["reft.finetuning.worker", str(folder)], folder, settings=settings)


def test_a_training_on_two_nodes_reports_logs_and_leaves_nothing_behind(cluster, client, settings, folder, small_job):
    cluster.kubelet, metrics = train, []
    two = settings.model_copy(update={"nodes": 2, "gpus_per_node": 2})
    output = run_on_cluster(small_job, folder, metrics.append, settings=two, client=client)
    assert output == folder / "output"
    assert [m["step"] for m in metrics] == [1, 2, 3, 4]
    assert (folder / "log.txt").read_text().splitlines() == [f"step {n}" for n in range(1, 5)]
    assert json.loads((output / "adapter_config.json").read_text())["base_model_name_or_path"] == "somebody/some-model"
    assert FinetuneJob.load(folder).settings.processes == 4
    (created,) = requests(cluster, "create")
    trainer = created["spec"]["trainer"]
    assert trainer["command"] == ["torchrun", "-m", "reft.finetuning.worker", str(folder)]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 2)
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "4", "memory": "32Gi", "nvidia.com/gpu": "2"}
    assert not cluster.jobs
    assert [said["propagationPolicy"] for said in requests(cluster, "delete")] == ["Foreground"]
    assert cluster.calls == API_CALLS  # nothing is asked for that is not used


def test_a_restarted_step_takes_up_its_running_trainjob(cluster, client, settings, folder, small_job):
    step(folder, 1, 2)
    (folder / "job.json").write_text("as the first launcher wrote it")
    cluster.kubelet, metrics = lambda cluster, job: (time.sleep(1), step(folder, 3, 4), finish(cluster, job)), []
    client.create(manifest(folder, settings))
    run_on_cluster(small_job, folder, metrics.append, settings=settings, client=client)
    assert len(requests(cluster, "create")) == 1
    assert [m["step"] for m in metrics] == [1, 2, 3, 4]
    assert (folder / "job.json").read_text() == "as the first launcher wrote it"


@pytest.mark.parametrize("way", ["hidden from the first look", "its own, whose answer was lost"])
def test_a_conflict_with_the_same_work_is_no_conflict(cluster, client, settings, folder, small_job, way):
    cluster.kubelet, metrics = train, []
    if way.startswith("hidden"):
        cluster.kubelet = lambda cluster, job: (time.sleep(0.5), train(cluster, job))
        client.create(manifest(folder, settings))
        cluster.failures["get trainjobs"] = [Refused(404, "not found")]
    else:
        cluster.lost_answers = 1
    run_on_cluster(small_job, folder, metrics.append, settings=settings, client=client)
    assert len(requests(cluster, "create")) == 2
    assert [m["step"] for m in metrics] == [1, 2, 3, 4]


def test_somebody_elses_trainjob_of_that_name_is_left_alone(cluster, client, settings, folder, small_job):
    client.create(manifest(folder, settings.model_copy(update={"image": "docker.io/library/python:3.11"})))
    with pytest.raises(Conflict, match=r"another TrainJob reft-0a1b2c3d4e5f[\s\S]*kubectl -n reft delete"):
        run_on_cluster(small_job, folder, None, settings=settings, client=client)
    assert cluster.jobs
    assert not requests(cluster, "delete")


@pytest.mark.parametrize("state", ["failed", "terminating"])
def test_an_ended_one_of_that_name_is_waited_for_and_replaced(cluster, client, settings, folder, small_job, state):
    name = client.create(manifest(folder, settings))["metadata"]["name"]
    cluster.terminating = 1.0
    if state == "failed":
        cluster.condition(name, "Failed")
    else:
        client.delete(name)
    cluster.kubelet = lambda cluster, job: (folder / "error-0.json").unlink(missing_ok=True) or train(cluster, job)
    run_on_cluster(small_job, folder, None, settings=settings, client=client)
    assert len(requests(cluster, "create")) == 2


@pytest.mark.parametrize("terminating", [0.0, 1.0])
def test_a_trainjob_that_somebody_deletes_is_an_error(cluster, client, settings, folder, small_job, terminating):
    cluster.terminating = terminating
    cluster.kubelet = lambda cluster, job: (
        cluster.pod(job["metadata"]["name"], 0) and cluster.delete(job["metadata"]["name"])
    )
    with pytest.raises(Missing, match="reft-0a1b2c3d4e5f was deleted by somebody"):
        run_on_cluster(small_job, folder, None, settings=settings, client=client)
    assert len(requests(cluster, "create")) == 1


def test_watches_that_break_and_versions_that_expire_lose_nothing(cluster, client, settings, folder, small_job):
    cluster.cut_watches, cluster.expired_watches, metrics = 2, 2, []
    cluster.kubelet = lambda cluster, job: (time.sleep(2.5), train(cluster, job))
    run_on_cluster(small_job, folder, metrics.append, settings=settings, client=client)
    assert (cluster.cut_watches, cluster.expired_watches) == (0, 0)
    assert len(metrics) == 4
    versions = [int(said["resourceVersion"]) for said in requests(cluster, "watch")]
    assert versions == sorted(versions)
    assert versions[0] > 0


def test_an_api_server_that_fails_for_a_while(cluster, client, settings, folder, small_job):
    busy = [Refused(500, "etcd leader changed"), Refused(503, "starting"), Refused(429, "slow down")]
    for call in ("get trainjobs", "create trainjobs", "watch trainjobs", "list pods", "get pods/log"):
        cluster.failures[call] = [None, *busy] if call == "list pods" else list(busy)
    cluster.kubelet = train
    assert run_on_cluster(small_job, folder, None, settings=settings, client=client).is_dir()
    assert not any(cluster.failures.values())


def test_an_api_server_that_fails_for_good(cluster, client, settings, folder, small_job):
    cluster.failures["list pods"] = [Refused(503, "etcd is gone")] * 50
    with pytest.raises(ClusterError, match=r"answered 503: etcd is gone"):
        run_on_cluster(small_job, folder, None, settings=settings, client=client)
    assert not cluster.jobs
    cluster.stop()
    with pytest.raises(ClusterError, match="cannot be reached"):
        run_on_cluster(small_job, folder, None, settings=settings, client=ClusterClient("reft", QUICK))


@pytest.mark.parametrize("missing", sorted(API_CALLS, key=str))
def test_a_missing_right_is_named(cluster, client, settings, folder, small_job, missing, caplog):
    cluster.allowed = API_CALLS - {missing}
    cluster.kubelet = train
    verb, group, resource = missing
    kind = f"{resource}.{group}" if group else resource
    if verb == "delete":  # the training went well all the same
        run_on_cluster(small_job, folder, None, settings=settings, client=client)
        assert f"does not allow to delete {kind}" in caplog.text
    else:
        with pytest.raises(
            ClusterError, match=rf"does not allow to {verb} {kind}[\s\S]*allow the verb {verb} on {kind}"
        ):
            run_on_cluster(small_job, folder, None, settings=settings, client=client)


@pytest.mark.parametrize("why", ["scheduler", "image", "queue"])
def test_nodes_that_do_not_run_in_time_say_why(cluster, client, settings, folder, small_job, why):
    def wait(cluster, job):
        name = job["metadata"]["name"]
        if why == "queue":
            cluster.condition(name, "Suspended", "Suspended", "0/3 machines match, waiting in queue night")
        elif why == "image":
            waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image: 0/3 machines match"}}
            cluster.pod(name, 0, "Pending", containerStatuses=[{**ended("x")[0], "state": waiting}])
        else:
            told = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            cluster.pod(name, 0, "Pending", conditions=[{**told, "message": "0/3 machines match"}])

    cluster.kubelet = wait
    with pytest.raises(ClusterError, match=r"do not run after 0\.02 minutes: .*0/3 machines match"):
        run_on_cluster(
            small_job, folder, None, settings=settings.model_copy(update={"pending_minutes": 0.02}), client=client
        )
    assert not cluster.jobs


def test_a_folder_that_the_nodes_would_not_find(cluster, client, settings, tmp_path, small_job):
    with pytest.raises(ConfigurationError, match="not on the volume"):
        run_on_cluster(small_job, tmp_path / "elsewhere", None, settings=settings, client=client)
    assert not cluster.requests


def test_local_models_and_templates_are_brought_to_the_shared_volume(
    cluster, client, settings, folder, small_job, tmp_path
):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_text("weights")
    (tmp_path / "own.jinja").write_text("{{ messages }}")
    here = {"name": str(tmp_path / "model"), "chat_template": str(tmp_path / "own.jinja")}
    cluster.kubelet, job = train, replace(small_job, model=small_job.model.model_copy(update=here))
    output = run_on_cluster(job, folder, None, settings=settings, client=client)
    sent = FinetuneJob.load(folder).model
    for path, words in ((f"{sent.name}/model.safetensors", "weights"), (sent.chat_template, "{{ messages }}")):
        assert path.startswith(settings.work_mount)
        with open(path) as file:
            assert file.read() == words
    assert json.loads((output / "adapter_config.json").read_text())["base_model_name_or_path"] == here["name"]


def test_without_a_cluster_the_error_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="set KUBECONFIG"):
        ClusterClient("reft", QUICK)


def test_folders_are_told_apart(folder, settings):
    """The same name, another place: another digest."""
    other = folder.parent / "other" / folder.name
    digests = {
        m["metadata"]["annotations"]["reft/digest"] for m in (manifest(folder, settings), manifest(other, settings))
    }
    assert len(digests) == 2
    assert folder_of(manifest(folder, settings)) == folder
