"""Every object against its own schema, strictly: a field that is not there is an error.

Kubernetes' objects by its OpenAPI documents, the Trainer's by its published models. Kueue publishes none for
Python, so the few fields that are used are written down here; a field that Kueue has and this lacks is refused too.
"""

import functools
import json
from typing import Any, Literal

import kubernetes_validate
from kubeflow_trainer_api.models.trainer_v1alpha1_training_runtime import TrainerV1alpha1TrainingRuntime
from pydantic import BaseModel, ConfigDict, create_model

from tests.deploy.rendering import Manifest

VERSIONS = ("1.32", "1.37")  # the oldest that is promised, and the newest that can be checked


class Strict(BaseModel):
    """A model that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid")


class _Metadata(Strict):
    name: str
    namespace: str | None = None
    labels: dict[str, str] = {}


class _Toleration(Strict):
    key: str
    operator: Literal["Exists", "Equal"]
    effect: Literal["NoSchedule", "NoExecute", "PreferNoSchedule"]
    value: str | None = None


class _Flavor(Strict):
    nodeLabels: dict[str, str]
    tolerations: list[_Toleration]


class _Quota(Strict):
    name: str
    nominalQuota: str


class _FlavorQuotas(Strict):
    name: str
    resources: list[_Quota]


class _ResourceGroup(Strict):
    coveredResources: list[str]
    flavors: list[_FlavorQuotas]


class _Preemption(Strict):
    withinClusterQueue: Literal["Never", "LowerPriority", "LowerOrNewerEqualPriority"]
    reclaimWithinCohort: Literal["Never", "LowerPriority", "Any"]


class _ClusterQueue(Strict):
    namespaceSelector: dict[str, Any]
    queueingStrategy: Literal["StrictFIFO", "BestEffortFIFO"]
    preemption: _Preemption
    resourceGroups: list[_ResourceGroup]


class _LocalQueue(Strict):
    clusterQueue: str


KUEUE: dict[str, type[Strict]] = {
    kind: create_model(
        kind, __base__=Strict, apiVersion=Literal["kueue.x-k8s.io/v1beta2"], kind=str, metadata=_Metadata, spec=spec
    )
    for kind, spec in (("ResourceFlavor", _Flavor), ("ClusterQueue", _ClusterQueue), ("LocalQueue", _LocalQueue))
}


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """Where a value that went through the models differs: what they do not know, they drop."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [text for key, value in before.items() for text in lost(value, after.get(key), f"{path}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [text for i, pair in enumerate(zip(before, after, strict=True)) for text in lost(*pair, f"{path}[{i}]")]
    return [] if before == after else [f"{path} is not in the schema"]


@functools.cache  # the overlays share most objects, and the package reads a document of megabytes for each
def _validate_core(item: str, version: str) -> None:
    kubernetes_validate.validate(json.loads(item), version, strict=True)


def validate(item: Manifest) -> None:
    """Raise where the object is not what its schema says."""
    if item["kind"] in KUEUE:
        KUEUE[item["kind"]].model_validate(item)
    elif item["kind"] == "TrainingRuntime":
        read = TrainerV1alpha1TrainingRuntime.from_dict(item)
        problems = lost(item, read.to_dict() if read else None)
        if problems:
            raise ValueError("; ".join(problems))
    else:
        for version in VERSIONS:
            _validate_core(json.dumps(item, sort_keys=True), version)
