"""The manifests as kubectl would apply them, and the pods that they hold."""

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

Manifest = dict[str, Any]
DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "k8s"
OVERLAYS = tuple(sorted(folder.name for folder in (DEPLOY / "overlays").iterdir()))
SCALABLE = ("Deployment", "StatefulSet")

# The pods that no manifest holds: ZenML and the Trainer make them, with the labels that deploy/k8s/README.md lists.
RUN_PODS: tuple[dict[str, str], ...] = (
    {"reft.io/network": "isolated"},
    {"reft.io/network": "hub"},
    {"reft.io/network": "isolated", "reft.io/kube-api": "true"},
    {"reft.io/network": "isolated", "jobset.sigs.k8s.io/jobset-name": "finetune"},
)


def needs_kubectl() -> str:
    """The path of kubectl; the test is skipped without it."""
    return shutil.which("kubectl") or pytest.skip("kubectl is not installed, and it is what renders the manifests")


def kustomize(folder: Path) -> list[Manifest]:
    """Render one folder."""
    command = [needs_kubectl(), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


# Optional components, as the README tells a user to add them to an overlay.
WITH = {
    "with-queues": ("on-prem", ["kueue"]),
    "with-service": ("on-prem", ["service", "service-store"]),
    "gke-with-service": ("gke", ["service"]),
}


@functools.cache
def _rendered(overlay: str) -> tuple[Manifest, ...]:
    if overlay not in WITH:
        return tuple(kustomize(DEPLOY / "overlays" / overlay))
    below, components = WITH[overlay]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        content = {
            "namespace": "reft",
            "resources": [os.path.relpath(DEPLOY / "overlays" / below, folder)],
            "components": [os.path.relpath(DEPLOY / "components" / one, folder) for one in components],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return tuple(kustomize(folder))


def rendered(overlay: str) -> list[Manifest]:
    """All objects of an overlay and the Jobs that are made by hand; a copy, so that a test may break them."""
    by_hand = [
        DEPLOY / "fetch-model.yaml",
        DEPLOY / "comparison-job.yaml",
        *sorted((DEPLOY / "restore").glob("*.yaml")),
    ]
    return deepcopy([*_rendered(overlay), *(yaml.safe_load(path.read_text()) for path in by_hand), _comparison_grid()])


def _comparison_grid() -> Manifest:
    """What the line in the grid's file makes: kubectl create configmap."""
    grid = DEPLOY.parents[1] / "configs" / "comparison" / "8b.yaml"
    name = re.search(r"create configmap (\S+) --from-file=(\S+)", grid.read_text())
    assert name
    assert Path(name[2]).resolve() == grid.resolve()
    metadata = {"name": name[1], "namespace": "reft", "labels": {"app.kubernetes.io/part-of": "reft"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {grid.name: grid.read_text()}}


def named(item: Manifest) -> str:
    """`Kind/name`, as kubectl writes it."""
    metadata = item["metadata"]
    return f"{item['kind']}/{metadata.get('name') or metadata['generateName']}"


def find(items: list[Manifest], kind: str, name: str) -> Manifest:
    """The object of that kind and name."""
    return next(item for item in items if item["kind"] == kind and item["metadata"].get("name") == name)


def pod_template(item: Manifest) -> Manifest | None:
    """The template of the pods that an object makes, if it makes any."""
    spec = item.get("spec") or {}
    if item["kind"] == "CronJob":
        return spec["jobTemplate"]["spec"]["template"]
    if item["kind"] == "TrainingRuntime":
        return spec["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    return spec["template"] if item["kind"] in (*SCALABLE, "Job", "DaemonSet") else None


def pods(items: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Each object that makes pods, with its pods' template."""
    for item in items:
        template = pod_template(item)
        if template is not None:
            yield item, template


def containers(items: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Each container, with the words that say where it is."""
    for item, template in pods(items):
        for kind in ("initContainers", "containers"):
            for container in template["spec"].get(kind, []):
                yield f"{named(item)}: container {container['name']}", container


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels. The empty one takes all."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or []:
        present, value = rule["key"] in labels, labels.get(rule["key"])
        fits = {
            "In": present and value in rule.get("values", []),
            "NotIn": value not in rule.get("values", []),
            "Exists": present,
            "DoesNotExist": not present,
        }
        if not fits[rule["operator"]]:
            return False
    return True


def pod_labels(items: list[Manifest]) -> list[dict[str, str]]:
    """The labels of every pod there will be, runs included."""
    return [template["metadata"].get("labels", {}) for _, template in pods(items)] + list(RUN_PODS)
