"""An Indexed Job: a pod for each part of a work, some at a time; one that is lost is started again alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reft.cluster.manifest import metadata_of, placement
from reft.config import ClusterSettings
from reft.errors import ConfigurationError, explain

# Nobody: a number that images need not know.
USER = 10001
# What fetching, unpacking and sorting a part takes of the disk, in times the part.
DISK = 16
# What a model with its teacher and a part of a scan take of it at most, in GiB.
MODEL_DISK = 64


def indexed_job(
    name: str,
    module: Sequence[str],
    parts: int,
    *,
    settings: ClusterSettings,
    folders: Sequence[str],
    scores: bool = False,
) -> dict[str, Any]:
    """The manifest; every pod finds the number of its part in JOB_COMPLETION_INDEX.

    Args:
        module: a Python module and its arguments.
        parts: how many pods there are in all, `settings.nodes` of them at a time.
        scores: a pod runs a model: on one GPU where the nodes have any, else with a thread for each CPU.
        folders: addresses that the pods read and write; where one is a folder of the work volume, that is mounted.

    Raises:
        ConfigurationError: no image is named, or a folder is on no volume that the pods have.
    """
    mounted = _found_by_pods(folders, settings)
    spec = {
        "completions": parts,
        "parallelism": min(settings.nodes, parts),
        "completionMode": "Indexed",
        "backoffLimitPerIndex": settings.restarts,
        "maxFailedIndexes": parts,  # the others go on
        "podReplacementPolicy": "Failed",  # two pods of one part never write at once
        # A pod whose machine was taken away is started again without counting.
        "podFailurePolicy": {
            "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "ttlSecondsAfterFinished": 86_400,
        "template": {
            "metadata": {"labels": {"app.kubernetes.io/part-of": "reft", "reft.io/network": "isolated"}},
            "spec": _pod(module, settings, mounted=mounted, scores=scores),
        },
    }
    metadata = metadata_of(name, spec, folders[-1], settings=settings)
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _found_by_pods(folders: Sequence[str], settings: ClusterSettings) -> bool:
    """Whether any of the folders lies on the work volume.

    Raises:
        ConfigurationError: there is no image, or one lies nowhere that the pods see.
    """
    if not settings.image:
        remedy = "set cluster.image to the image that the cluster runs reft from"
        raise ConfigurationError(explain("no image for the pods", "cluster.image", remedy))
    here = [folder for folder in folders if "://" not in folder]
    for folder in here:
        if not Path(folder).resolve().is_relative_to(Path(settings.work_mount).resolve()):
            what = f"the pods would not find it: not on the volume at {settings.work_mount}"
            remedy = "copy it there, or name an address such as s3://bucket/rows"
            raise ConfigurationError(explain(what, folder, remedy))
    return bool(here)


def _pod(module: Sequence[str], settings: ClusterSettings, *, mounted: bool, scores: bool) -> dict[str, Any]:
    threads = max(1, int(settings.cpus)) if scores else 1
    env = {"HOME": "/tmp", "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    amounts = {"cpu": f"{settings.cpus:g}", "memory": settings.memory}
    size = f"{max(4, -(-DISK * settings.shard_mb // 1024))}Gi"
    if scores:
        size = f"{MODEL_DISK}Gi"
        if settings.gpus_per_node:
            amounts[settings.gpu_resource] = "1"
    container: dict[str, Any] = {
        "name": "node",
        "image": settings.image,
        "command": ["python", "-m", *module],
        "env": [{"name": key, "value": value} for key, value in {**env, **settings.env}.items()],
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }  # fmt: skip
    if settings.store_secret:
        container["envFrom"] = [{"secretRef": {"name": settings.store_secret}}]
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": size}}],
    }  # fmt: skip
    if mounted:
        pod["volumes"].append({"name": "work", "persistentVolumeClaim": {"claimName": settings.work_claim}})
        container["volumeMounts"].append({"name": "work", "mountPath": settings.work_mount})
    return pod | placement(settings)
