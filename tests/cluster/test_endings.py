"""How a TrainJob ends: failed, killed, preempted, hung, told to go."""

import json
import os
import signal
import time

import pytest

from reft.cluster.finetuning import run_on_cluster
from reft.errors import TrainingError
from reft.finetuning.job import FINISHED, STOPPED
from tests.cluster.conftest import ended, finish, requests, step
from tests.factories import change

pytestmark = pytest.mark.slow  # a cluster that takes its time

DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"}]


def failed(cluster, job, message="jobset failed"):
    cluster.condition(job["metadata"]["name"], "Failed", "JobSetFailed", message)


def test_a_failing_rank_brings_its_own_traceback(cluster, client, settings, folder, small_job):
    def fail(cluster, job):
        name = job["metadata"]["name"]
        cluster.pod(name, 0, "Failed", containerStatuses=ended("Error"))
        for rank, moment, trace in ((0, 5.0, "connection closed by peer"), (1, 4.0, "IndexError: row 7")):
            told = {"kind": "fault", "time": moment, "message": "", "trace": trace}
            (folder / f"error-{rank}.json").write_text(json.dumps(told))
        failed(cluster, job)

    cluster.kubelet = fail
    with pytest.raises(TrainingError, match=r"failed on rank 1:\nIndexError: row 7[\s\S]*where"):
        run_on_cluster(small_job, folder, None, settings=settings, client=client)
    assert not cluster.jobs
    assert len(requests(cluster, "create")) == 1


def test_a_rank_that_left_no_word_shows_the_end_of_its_log(cluster, client, settings, folder, small_job):
    def die(cluster, job):
        name = job["metadata"]["name"]
        cluster.pod(name, 0, "Failed", containerStatuses=ended("Error", at="2026-01-01T00:00:09Z"))
        guilty = cluster.pod(name, 1, "Failed", containerStatuses=ended("Error", at="2026-01-01T00:00:02Z"))
        for line in ("starting", "Segmentation fault"):
            cluster.say(guilty, line)
        failed(cluster, job)

    cluster.kubelet = die
    with pytest.raises(TrainingError, match=r"jobset failed\nstarting\nSegmentation fault"):
        run_on_cluster(small_job, folder, None, settings=settings, client=client)


def test_memory_that_did_not_suffice(cluster, client, settings, folder, small_job):
    def kill(cluster, job):
        name = job["metadata"]["name"]
        cluster.pod(name, 1, "Failed", containerStatuses=ended("OOMKilled", 137))
        told = {"kind": "fault", "time": 1.0, "message": "", "trace": "connection closed by peer"}
        (folder / "error-0.json").write_text(json.dumps(told))
        failed(cluster, job)

    cluster.kubelet = kill
    words = r"node-0-1-\w+: OOMKilled \(exit code 137\)[\s\S]*closed by peer[\s\S]*raise cluster.memory"
    with pytest.raises(TrainingError, match=words):
        run_on_cluster(small_job, folder, None, settings=settings, client=client)


@pytest.mark.parametrize("seen", ["in the pod", "by the ranks alone"])
def test_a_preempted_training_resumes_from_its_checkpoint(cluster, client, settings, folder, small_job, seen):
    found = []

    def kubelet(cluster, job):
        name, lines = job["metadata"]["name"], (folder / "metrics.jsonl").read_text().splitlines()
        found.append([json.loads(line)["step"] for line in lines])
        if len(found) == 1:
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "newest.json").write_text('{"step": 2, "ranks": 1}')
            step(folder, 1, 2, 3)
            told = {"kind": "user", "time": 1.0, "message": f"{STOPPED}\n  where: step 2", "trace": ""}
            (folder / "error-0.json").write_text(json.dumps(told))
            cluster.pod(name, 0, "Failed", **({"conditions": DISRUPTED} if seen == "in the pod" else {}))
            failed(cluster, job)
        else:
            step(folder, 3, 4)
            finish(cluster, job)

    cluster.kubelet, cluster.terminating, metrics = kubelet, 0.5, []
    run_on_cluster(small_job, folder, metrics.append, settings=settings, client=client)
    assert found == [[], [1, 2]]  # the third step is done again
    assert [m["step"] for m in metrics] == [1, 2, 3, 4]
    assert not (folder / "error-0.json").exists()


def test_a_training_that_is_always_preempted_is_given_up(cluster, client, settings, folder, small_job):
    def kubelet(cluster, job):
        cluster.pod(job["metadata"]["name"], 0, "Failed", conditions=DISRUPTED)
        failed(cluster, job)

    cluster.kubelet = kubelet
    with pytest.raises(TrainingError, match=r"preempted 2 times: .*PreemptionByScheduler"):
        run_on_cluster(small_job, folder, None, settings=settings.model_copy(update={"restarts": 1}), client=client)
    assert len(requests(cluster, "create")) == 2
    assert not cluster.jobs


def test_a_queue_that_takes_the_nodes_away_for_a_while(cluster, client, settings, folder, small_job):
    """Kueue suspends and resumes a TrainJob by itself: the launcher only waits."""

    def kubelet(cluster, job):
        name = job["metadata"]["name"]
        step(folder, 1, 2)
        cluster.pod(name, 0)
        cluster.condition(name, "Suspended")
        time.sleep(1.5)
        cluster.condition(name, "Suspended", status="False")
        step(folder, 2, 3, 4)  # killed without a checkpoint of the second
        finish(cluster, job)

    cluster.kubelet, metrics = kubelet, []
    run_on_cluster(change(small_job, stalled_minutes=0.02), folder, metrics.append, settings=settings, client=client)
    assert [m["step"] for m in metrics] == [1, 2, 3, 4]
    assert len(requests(cluster, "create")) == 1


@pytest.mark.parametrize(
    ("limit", "words"), [({"stalled_minutes": 0.02}, "no step for"), ({"timeout_minutes": 0}, "time limit")]
)
def test_a_training_that_hangs_is_ended(cluster, client, settings, folder, small_job, limit, words):
    cluster.kubelet = lambda cluster, job: cluster.pod(job["metadata"]["name"], 0)
    with pytest.raises(TrainingError, match=words):
        run_on_cluster(change(small_job, **limit), folder, None, settings=settings, client=client)
    assert not cluster.jobs


def test_ctrl_c_deletes_the_trainjob_and_keeps_the_folder(cluster, client, settings, folder, small_job):
    def interrupt(_metrics):
        raise KeyboardInterrupt

    cluster.kubelet = lambda cluster, job: cluster.pod(job["metadata"]["name"], 0) and step(folder, 1)
    with pytest.raises(KeyboardInterrupt):
        run_on_cluster(small_job, folder, interrupt, settings=settings, client=client)
    assert not cluster.jobs
    assert (folder / "job.json").is_file()


def test_sigterm_deletes_the_trainjob_and_is_passed_on(cluster, client, settings, folder, small_job):
    told = []
    before = signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    cluster.kubelet = lambda cluster, job: (
        cluster.pod(job["metadata"]["name"], 0) and (time.sleep(0.5), os.kill(os.getpid(), signal.SIGTERM))
    )
    try:
        with pytest.raises(TrainingError, match="stopped by SIGTERM, the TrainJob too"):
            run_on_cluster(small_job, folder, None, settings=settings, client=client)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not cluster.jobs
    assert told == [True]


def test_a_completed_trainjob_without_a_result_is_an_error(cluster, client, settings, folder, small_job):
    cluster.kubelet = lambda cluster, job: cluster.condition(job["metadata"]["name"], "Complete")
    with pytest.raises(TrainingError):
        run_on_cluster(small_job, folder, None, settings=settings, client=client)
    assert not (folder / FINISHED).exists()
