"""An Indexed Job's pods as real processes, and the store that they share."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from reft.config import ClusterSettings
from reft.storage.store import Store
from tests.cluster.conftest import ended

ROOT = Path(__file__).parents[2]


def cluster_settings(tmp_path, **changes):
    values = {
        "work_mount": str(tmp_path / "work"),
        "image": "reft:1",
        "nodes": 4,
        "cpus": 1,
        "memory": "2Gi",
        "shard_mb": 1,
    }
    return ClusterSettings(**{**values, **changes})


def on_s3(folder, address):
    store = Store(address)
    for file in sorted(folder.iterdir()):
        store.put(file, file.name)
    return store


def text_of(store, group):
    names = sorted(file.name for file in store.files(group))
    return b"".join(store.read(name) for name in names)


def part_by_part(found, do):
    """A kubelet whose pods do their parts in this process, one after another.

    Args:
        found: gives the work, of its store and folder.
        do: does a part of it.
    """

    def kubelet(cluster, job, lost=()):
        name = job["metadata"]["name"]
        address, folder = job["spec"]["template"]["spec"]["containers"][0]["command"][3:5]
        shared = found(Store(address), folder)
        for number in range(job["spec"]["completions"]):
            if number in lost:
                cluster.say(cluster.pod(name, number, "Failed", containerStatuses=ended("OOMKilled", 137)), "reading")
            elif number not in shared.done():
                do(shared, number)
                cluster.pod(name, number, "Succeeded")
        cluster.condition(name, "Failed" if lost else "Complete", "FailedIndexes" if lost else "Completed")

    return kubelet


class Kubelet:
    """Pods as processes, so many at a time as the Job says; those of `killed` are killed once they work on a part."""

    def __init__(self, folder, killed):
        self._folder, self._killed = folder, dict(killed)
        self.starts = []

    def __call__(self, cluster, job):
        spec = job["spec"]
        slots, threads = threading.Semaphore(spec["parallelism"]), []
        for number in range(spec["completions"]):
            threads.append(threading.Thread(target=self._index, args=(cluster, job, number, slots)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        cluster.condition(job["metadata"]["name"], "Complete", "Completed")

    def _index(self, cluster, job, number, slots):
        name, container = job["metadata"]["name"], job["spec"]["template"]["spec"]["containers"][0]
        with slots:
            for attempt in range(job["spec"]["backoffLimitPerIndex"] + 1):
                pod = cluster.pod(name, number, again=attempt > 0)
                status, said = self._run(container, number, attempt)
                cluster.say(pod, said)
                if status == 0:
                    cluster.pod(name, number, "Succeeded")
                    return
                cluster.pod(name, number, "Failed", containerStatuses=ended("Error", 137))
        raise AssertionError(f"index {number} failed for good: {said}")

    def _run(self, container, number, attempt):
        scratch = self._folder / f"{number}-{attempt}"
        scratch.mkdir(parents=True)
        own = {variable["name"]: variable["value"] for variable in container["env"] if variable["name"] != "HOME"}
        own |= {"JOB_COMPLETION_INDEX": str(number), "TMPDIR": str(scratch), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, *container["command"][1:]]
        process = subprocess.Popen(
            command, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.starts.append(number)
        if self._killed.get(number, 0) > 0:
            self._killed[number] -= 1
            while not [*scratch.glob("reft-scratch-part-*/whole")] and process.poll() is None:
                time.sleep(0.005)
            process.kill()
        said, _ = process.communicate(timeout=180)
        return process.returncode, said
