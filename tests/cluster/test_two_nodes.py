"""The TrainJob's own command, really run: two nodes of a tiny model, one of them preempted on the way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from reft.cluster.finetuning import run_on_cluster
from reft.finetuning.checkpoints import last_step
from reft.finetuning.launch import run_finetune
from reft.models.loading import load_model
from tests.cluster.conftest import ended, folder_of
from tests.factories import change, make_job
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.night]

DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}]


class Kubelet:
    """Starts the command on each node as the Trainer's torch policy has it, and tells Kubernetes how it goes."""

    def __init__(self, preempt_after: int) -> None:
        self.preempt_after, self.runs = preempt_after, 0

    def __call__(self, cluster, job):
        trainer, name, log = job["spec"]["trainer"], job["metadata"]["name"], folder_of(job) / "metrics.jsonl"
        self.runs += 1
        env = {**os.environ, **{v["name"]: v["value"] for v in trainer["env"]}}
        env |= {"PET_NNODES": str(trainer["numNodes"]), "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"])}
        env |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(free_port())}
        # By its place, not by PATH: another ninja there would have DeepSpeed compile its CPU kernels anew.
        torchrun, *arguments = trainer["command"]
        command = [str(Path(sys.executable).with_name(torchrun)), *arguments]
        nodes = [
            subprocess.Popen(
                command,
                env={**env, "PET_NODE_RANK": str(node)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for node in range(trainer["numNodes"])
        ]
        pods = [cluster.pod(name, node) for node in range(len(nodes))]
        for pod, process in zip(pods, nodes, strict=True):
            cluster.start(lambda pod=pod, process=process: [cluster.say(pod, line.rstrip()) for line in process.stdout])
        if self.runs == 1:
            while log.read_text().count("\n") < self.preempt_after and nodes[1].poll() is None:
                time.sleep(0.05)
            nodes[1].send_signal(signal.SIGTERM)
        codes = [process.wait() for process in nodes]
        for node, code in enumerate(codes):
            taken = {"conditions": DISRUPTED} if self.runs == 1 and node == 1 else {}
            phase, reason = ("Failed", "Error") if code else ("Succeeded", "Completed")
            cluster.pod(name, node, phase, containerStatuses=ended(reason, code), **taken)
        cluster.condition(name, "Failed" if any(codes) else "Complete")


def test_a_preempted_node_of_two_and_the_training_resumes(cluster, client, settings, folder, tiny_model):
    job = change(make_job(tiny_model), epochs=10, checkpoint_every=0)  # 30 steps; saved at the signal alone
    expected, metrics, kubelet = [], [], Kubelet(preempt_after=4)
    run_finetune(job, folder.parent / "local", expected.append)
    cluster.kubelet = kubelet
    output = run_on_cluster(
        job, folder, metrics.append, settings=settings.model_copy(update={"nodes": 2}), client=client
    )
    assert kubelet.runs == 2
    assert 4 <= last_step(folder) < 30
    assert [m["step"] for m in metrics] == list(range(1, 31))
    np.testing.assert_allclose([m["loss"] for m in metrics], [m["loss"] for m in expected], rtol=1e-3)
    load_model(tiny_model, adapter=output)
    assert "[rank 0] step: 30/30" in (folder / "log.txt").read_text()
    assert not cluster.jobs
