"""A TrainJob that runs any command under torchrun on every node, with the shared work folder mounted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reft.cluster.client import GROUP, VERSION
from reft.cluster.manifest import metadata_of, placement
from reft.config import ClusterSettings
from reft.moved import keep_old_names

MANAGER = "reft/launcher"
# Told to go, a rank finishes its step and saves; torchrun, and then Kubernetes, wait so long for it.
SAVING_SECONDS = 300


def trainjob(
    name: str, module: Sequence[str], folder: Path, *, settings: ClusterSettings, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The manifest.

    The training runtime brings the image and the torch policy, which gives torchrun its rank and its meeting place.
    All that is specific to this run is here, so that one runtime serves every job.

    Args:
        module: a Python module and its arguments, run by each rank; it finds RANK, LOCAL_RANK and WORLD_SIZE.
        folder: where it works, under `settings.work_mount`.
        env: variables of the ranks, which those of the settings win over.
    """
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": GROUP, "kind": settings.runtime_kind, "name": settings.runtime},
        "trainer": {
            **({"image": settings.image} if settings.image else {}),
            "command": ["torchrun", "-m", *module],
            "env": [{"name": k, "value": v} for k, v in {**_quiet(settings), **(env or {}), **settings.env}.items()],
            "numNodes": settings.nodes,
            "numProcPerNode": settings.processes_per_node,
            "resourcesPerNode": _resources(settings),
        },
        "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": _patch(settings)}}}],
    }
    metadata = metadata_of(name, spec, str(folder), settings=settings)
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainJob", "metadata": metadata, "spec": spec}


def _quiet(settings: ClusterSettings) -> dict[str, str]:
    threads = max(1, int(settings.cpus) // settings.processes_per_node)
    env = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    env["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(SAVING_SECONDS)
    if settings.processes_per_node > 1:
        env["OMP_WAIT_POLICY"] = "PASSIVE"
    return env


def _resources(settings: ClusterSettings) -> dict[str, dict[str, str]]:
    """Requests are limits, so that nobody else's need evicts a node."""
    amounts = {"cpu": f"{settings.cpus:g}", "memory": settings.memory}
    if settings.gpus_per_node:
        amounts[settings.gpu_resource] = str(settings.gpus_per_node)
    return {"requests": amounts, "limits": dict(amounts)}


def _patch(settings: ClusterSettings) -> dict[str, Any]:
    """What the runtime's pods get beside the trainer's own fields; the Trainer calls job and container `node`."""
    pod: dict[str, Any] = {
        "terminationGracePeriodSeconds": SAVING_SECONDS + 30,
        "volumes": [{"name": "work", "persistentVolumeClaim": {"claimName": settings.work_claim}}],
        "containers": [{"name": "node", "volumeMounts": [{"name": "work", "mountPath": settings.work_mount}]}],
    }
    pod |= placement(settings)
    return {"replicatedJobs": [{"name": "node", "template": {"spec": {"template": {"spec": pod}}}}]}


keep_old_names(__name__)
