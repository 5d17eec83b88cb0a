"""Every overlay renders, fits its schemas strictly, and keeps the house's rules; and each check bites."""

from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest

from tests.deploy import lint, schemas
from tests.deploy.rendering import DEPLOY, OVERLAYS, WITH, Manifest, find, named, pods, rendered

pytestmark = pytest.mark.slow

ALL = (*OVERLAYS, *WITH)
FULL = "with-queues"  # the overlay that has every kind of object


@pytest.mark.parametrize("overlay", ALL)
def test_every_object_fits_its_schema(overlay: str) -> None:
    items = rendered(overlay)
    assert len(items) > 40
    for item in items:
        schemas.validate(item)


@pytest.mark.parametrize("overlay", ALL)
@pytest.mark.parametrize("rule", lint.RULES, ids=lambda rule: rule.__name__)
def test_every_rule_is_kept(overlay: str, rule: lint.Rule) -> None:
    assert list(rule(rendered(overlay))) == []


def _misspell(item: Manifest, path: str, wrong: str) -> None:
    *way, right = path.split("/")
    place: Any = item
    for step in way:
        place = place[int(step)] if step.isdigit() else place[step]
    place[wrong] = place.pop(right)


NODE = "spec/template/spec/replicatedJobs/0/template/spec/template/spec/containers/0/securityContext"


@pytest.mark.parametrize(
    ("kind", "name", "path", "wrong"),
    [
        ("Deployment", "mlflow", "spec/template/spec/automountServiceAccountToken", "automountServiceAccountTokens"),
        ("NetworkPolicy", "names", "spec/policyTypes", "policytypes"),
        ("CronJob", "backup-mysql", "spec/concurrencyPolicy", "concurrency"),
        ("TrainingRuntime", "reft-deepspeed", "spec/mlPolicy/numNodes", "nodes"),
        ("TrainingRuntime", "reft-deepspeed", f"{NODE}/readOnlyRootFilesystem", "readOnlyRootFileSystem"),
        ("ClusterQueue", "reft-training", "spec/resourceGroups", "resourceGroup"),
        ("LocalQueue", "reft-training", "spec/clusterQueue", "queue"),
        ("ResourceFlavor", "reft-train", "spec/nodeLabels", "labels"),
    ],
)
def test_a_misspelt_field_is_caught(kind: str, name: str, path: str, wrong: str) -> None:
    item = find(rendered(FULL), kind, name)
    schemas.validate(item)
    _misspell(item, path, wrong)
    with pytest.raises((ValueError, kubernetes_validate.ValidationError)):
        schemas.validate(item)


def _pod(name: str, items: list[Manifest]) -> Manifest:
    return next(template["spec"] for item, template in pods(items) if named(item) == name)


def _container(items: list[Manifest]) -> Manifest:
    return _pod("Deployment/mlflow", items)["containers"][0]


def _secret(items: list[Manifest]) -> None:
    items.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "stringData": {"a": "b"}})


def _cluster_role(items: list[Manifest]) -> None:
    items.append({"kind": "ClusterRole", "metadata": {"name": "all"}, "rules": []})


def _grant(**change: list[str]) -> Callable[[list[Manifest]], None]:
    return lambda items: find(items, "Role", "reft-client")["rules"][0].update(change)


def _env(name: str, value: str) -> Callable[[list[Manifest]], None]:
    return lambda items: _container(items)["env"].append({"name": name, "value": value})


def _node(items: list[Manifest]) -> Manifest:
    return _pod("TrainingRuntime/reft-deepspeed", items)["containers"][0]


# Each of them must be seen by the rule of that name; the words are part of what it says.
BROKEN: list[tuple[lint.Rule, Callable[[list[Manifest]], Any], str]] = [
    (lint.hardened, lambda o: _container(o)["securityContext"].update(privileged=True), "is privileged"),
    (lint.hardened, lambda o: _container(o)["securityContext"].pop("allowPrivilegeEscalation"), "may escalate"),
    (lint.hardened, lambda o: _container(o)["securityContext"].update(capabilities={"drop": []}), "keeps capabilities"),
    (lint.hardened, lambda o: _node(o)["securityContext"].pop("readOnlyRootFilesystem"), "writable root"),
    (lint.unprivileged, lambda o: _pod("StatefulSet/mysql", o)["securityContext"].pop("runAsNonRoot"), "run as root"),
    (lint.unprivileged, lambda o: _pod("Job/restore-mysql-", o)["securityContext"].update(runAsUser=0), "run as root"),
    (lint.unprivileged, lambda o: _pod("CronJob/backup-mysql", o)["securityContext"].pop("seccompProfile"), "seccomp"),
    (lint.unprivileged, lambda o: _pod("Deployment/zenml", o).update(hostNetwork=True), "node's namespaces"),
    (
        lint.unprivileged,
        lambda o: _pod("Deployment/zenml", o)["volumes"].append({"name": "h", "hostPath": {"path": "/"}}),
        "node's files",
    ),
    (lint.limited, lambda o: _container(o)["resources"].pop("limits"), "no limits of cpu, memory"),
    (lint.limited, lambda o: _container(o)["resources"]["requests"].pop("cpu"), "no requests of cpu"),
    (lint.limited, lambda o: _pod("Deployment/mlflow", o)["volumes"][1]["emptyDir"].clear(), "has no limit"),
    (lint.pinned, lambda o: _container(o).update(image="mlflow:latest"), "is not pinned"),
    (lint.pinned, lambda o: _node(o).update(image="registry:5000/reft"), "is not pinned"),
    (lint.secretless, _secret, "Secret in the repository"),
    (lint.secretless, _env("DATABASE_PASSWORD", "hunter2"), "looks like a secret"),
    (lint.secretless, _env("DATABASE", "mysql://root:hunter2@mysql/zenml"), "looks like a secret"),
    (lint.least_rights, _cluster_role, "whole cluster"),
    (lint.least_rights, _grant(verbs=["*"]), "wildcard"),
    (lint.least_rights, _grant(apiGroups=["*"]), "wildcard"),
    (lint.least_rights, _grant(resources=["secrets"]), "reaches secrets"),
    (lint.tokens, lambda o: find(o, "ServiceAccount", "reft-step").pop("automountServiceAccountToken"), "a token"),
    (lint.tokens, lambda o: _pod("Deployment/zenml", o).pop("automountServiceAccountToken"), "a token"),
    (lint.referenced, lambda o: o.remove(find(o, "PersistentVolumeClaim", "reft-work")), "PersistentVolumeClaim"),
    (lint.referenced, lambda o: o.remove(find(o, "ServiceAccount", "mlflow")), "ServiceAccount/mlflow"),
    (lint.referenced, lambda o: o.remove(find(o, "ConfigMap", "backup-scripts")), "ConfigMap/backup-scripts"),
    (lint.referenced, lambda o: o.remove(find(o, "PriorityClass", "reft-training")), "PriorityClass"),
    (lint.referenced, lambda o: o.remove(find(o, "Role", "reft-client")), "Role/reft-client"),
    (
        lint.referenced,
        lambda o: _container(o)["env"][0]["valueFrom"]["secretKeyRef"].update(name="unknown"),
        "Secret/unknown",
    ),
    (
        lint.selecting,
        lambda o: find(o, "NetworkPolicy", "runs-to-hub")["spec"].update(
            podSelector={"matchLabels": {"reft.io/n": "hub"}}
        ),
        "takes no pod",
    ),
    (lint.selecting, lambda o: find(o, "Service", "mlflow")["spec"].update(selector={"app": "mlflow"}), "takes no pod"),
    (
        lint.selecting,
        lambda o: find(o, "Service", "mlflow")["spec"]["ports"][0].update(targetPort="web"),
        "no container",
    ),
    (
        lint.selecting,
        lambda o: find(o, "PodDisruptionBudget", "zenml")["spec"].update(selector={"matchLabels": {"a": "b"}}),
        "takes no pod",
    ),
    (lint.watched, lambda o: _container(o).pop("livenessProbe"), "no livenessProbe"),
    (lint.watched, lambda o: _pod("Deployment/mlflow", o).pop("topologySpreadConstraints"), "not spread"),
]


@pytest.mark.parametrize(("rule", "damage", "words"), BROKEN, ids=[f"{r.__name__}-{w}" for r, _, w in BROKEN])
def test_each_rule_bites(rule: lint.Rule, damage: Callable[[list[Manifest]], Any], words: str) -> None:
    items = rendered(FULL)
    damage(items)
    assert any(words in finding for finding in rule(items))


def test_every_rule_is_shown_to_bite() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(lint.RULES)


def test_the_labels_of_runs_are_documented() -> None:
    text = (DEPLOY / "README.md").read_text()
    for label in ("reft.io/network: isolated", "reft.io/network: hub", 'reft.io/kube-api: "true"'):
        assert label in text


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlays_image_name_reaches_every_pod(overlay: str) -> None:
    by_kustomize = [item for item in rendered(overlay) if "name" in item["metadata"]]
    images = {c["image"] for _, template in pods(by_kustomize) for c in template["spec"]["containers"]}
    ours = {image for image in images if image.endswith((":cpu", ":cuda"))}
    assert len({image.rpartition(":")[0] for image in ours}) == 1
    assert (overlay == "local-kind") == (ours == {"reft:cpu"})
