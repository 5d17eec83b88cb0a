"""What the manifests of all our jobs have in common: how they are told apart, and where their pods may run."""

import json
from typing import Any

from reft.config import ClusterSettings
from reft.storage.fingerprint import of_text

DIGEST, FOLDER = "reft/digest", "reft/folder"


def metadata_of(name: str, spec: dict[str, Any], folder: str, *, settings: ClusterSettings) -> dict[str, Any]:
    """Its name, the digest of what it does, where it works, and its queue.

    Args:
        folder: address of the results.
    """
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": settings.namespace,
        "labels": {"app.kubernetes.io/part-of": "reft"},
        "annotations": {DIGEST: of_text(json.dumps(spec, sort_keys=True)), FOLDER: folder},
    }
    if settings.queue:
        metadata["labels"]["kueue.x-k8s.io/queue-name"] = settings.queue
    return metadata


def placement(settings: ClusterSettings) -> dict[str, Any]:
    """Fields of a pod: its account, and the machines that it may run on; those alone that are set."""
    pod: dict[str, Any] = {}
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    if settings.node_selector:
        pod["nodeSelector"] = settings.node_selector
    if settings.tolerations:
        pod["tolerations"] = [taint.model_dump(exclude_none=True) for taint in settings.tolerations]
    return pod
