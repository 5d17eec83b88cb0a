"""The house's rules for manifests. Each takes all objects of an overlay and says what breaks it."""

import re
from collections.abc import Callable, Iterator

from tests.deploy.rendering import SCALABLE, Manifest, containers, matches, named, pod_labels, pods

Rule = Callable[[list[Manifest]], Iterator[str]]
SECRETS = {  # make_secrets.sh
    "reft-postgres", "reft-mysql", "reft-mlflow", "reft-zenml", "reft-store", "reft-run", "reft-service",
}  # fmt: skip
WITH_TOKEN = {"reft-orchestrator", "reft-finetune", "reft-service"}
SECRET_NAME = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|KEY|CREDENTIALS?)$", re.IGNORECASE)
SECRET_URL = re.compile(r"\w+://[^/\s:]*:[^/\s@]+@")


def hardened(items: list[Manifest]) -> Iterator[str]:
    """No container may gain rights or write to its own image."""
    for where, container in containers(items):
        context = container.get("securityContext", {})
        if context.get("privileged"):
            yield f"{where} is privileged"
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{where} may escalate privileges"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{where} keeps capabilities"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{where} has a writable root"


def unprivileged(items: list[Manifest]) -> Iterator[str]:
    """No pod runs as root, without seccomp, or with the node's own namespaces or files."""
    for item, template in pods(items):
        spec = template["spec"]
        context = spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or context.get("runAsUser", 0) == 0:
            yield f"{named(item)} may run as root"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{named(item)} has no seccomp profile"
        if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{named(item)} shares the node's namespaces"
        if any("hostPath" in volume for volume in spec.get("volumes", [])):
            yield f"{named(item)} mounts the node's files"


def limited(items: list[Manifest]) -> Iterator[str]:
    """Every container asks for CPU and memory, and has a limit of both; every scratch volume has one too."""
    for where, container in containers(items):
        for kind in ("requests", "limits"):
            missing = {"cpu", "memory"} - set(container.get("resources", {}).get(kind, {}))
            if missing:
                yield f"{where} has no {kind} of {', '.join(sorted(missing))}"
    for item, template in pods(items):
        for volume in template["spec"].get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                yield f"{named(item)}: volume {volume['name']} has no limit"


def pinned(items: list[Manifest]) -> Iterator[str]:
    """Every image has a tag or digest that is not `latest`."""
    for where, container in containers(items):
        tag = container["image"].rpartition("/")[2].partition(":")[2]
        if "@sha256:" not in container["image"] and tag in ("", "latest"):
            yield f"{where}: image {container['image']} is not pinned"


def secretless(items: list[Manifest]) -> Iterator[str]:
    """No secret is in a manifest: neither as an object, nor in an environment or a ConfigMap."""
    for item in items:
        if item["kind"] == "Secret":
            yield f"{named(item)} is a Secret in the repository"
        for key, value in (item.get("data") or {}).items() if item["kind"] == "ConfigMap" else ():
            if SECRET_NAME.search(key) or ("\n" not in value and SECRET_URL.search(value)):
                yield f"{named(item)}: {key} looks like a secret"
    for where, container in containers(items):
        for variable in container.get("env", []):
            value = variable.get("value")
            if value is not None and (SECRET_NAME.search(variable["name"]) or SECRET_URL.search(value)):
                yield f"{where}: {variable['name']} is a literal that looks like a secret"


def least_rights(items: list[Manifest]) -> Iterator[str]:
    """Rights are of one namespace, named one by one, and never over secrets or rights."""
    for item in items:
        if item["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            yield f"{named(item)} is of the whole cluster"
        for rule in item.get("rules", []) if item["kind"].endswith("Role") else ():
            if "*" in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]:
                yield f"{named(item)} has a wildcard"
            if {"secrets", "roles", "rolebindings", "pods/exec"} & set(rule["resources"]):
                yield f"{named(item)} reaches {', '.join(rule['resources'])}"


def tokens(items: list[Manifest]) -> Iterator[str]:
    """Only the accounts that call the API get its token."""
    for item in items:
        free = item["kind"] == "ServiceAccount" and item["metadata"]["name"] not in WITH_TOKEN
        if free and item.get("automountServiceAccountToken") is not False:
            yield f"{named(item)} mounts a token"
    for item, template in pods(items):
        spec = template["spec"]
        if spec.get("serviceAccountName") not in WITH_TOKEN and spec.get("automountServiceAccountToken") is not False:
            yield f"{named(item)} mounts a token"


def _references(template: Manifest) -> Iterator[tuple[str, str]]:
    spec = template["spec"]
    yield "ServiceAccount", spec.get("serviceAccountName", "default")
    yield "PriorityClass", spec.get("priorityClassName", "none")
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        sources = [v["valueFrom"] for v in container.get("env", []) if "valueFrom" in v] + container.get("envFrom", [])
        for source in sources:
            for key, kind in (("configMapKeyRef", "ConfigMap"), ("configMapRef", "ConfigMap")):
                if key in source:
                    yield kind, source[key]["name"]
            for key in ("secretKeyRef", "secretRef"):
                if key in source and not source[key].get("optional"):
                    yield "Secret", source[key]["name"]


def referenced(items: list[Manifest]) -> Iterator[str]:
    """Whatever a pod or a binding names is there; Secrets are those of make_secrets.sh."""
    there = {(item["kind"], item["metadata"].get("name")) for item in items} | {("Secret", name) for name in SECRETS}
    for item, template in pods(items):
        # A backup or a restore may be put off by anything else, so it has no priority.
        for kind, name in _references(template):
            if (kind, name) not in there and (kind, name) != ("PriorityClass", "none"):
                yield f"{named(item)} refers to {kind}/{name}, which is not there"
    for item in items:
        if item["kind"] == "RoleBinding":
            for target in [item["roleRef"], *item["subjects"]]:
                if (target["kind"], target["name"]) not in there:
                    yield f"{named(item)} refers to {target['kind']}/{target['name']}, which is not there"


def selecting(items: list[Manifest]) -> Iterator[str]:
    """Every selector takes a pod of the manifests or one with a run's labels, and every port of a Service is open."""
    labels = pod_labels(items)
    for item in items:
        spec = item.get("spec") or {}
        selectors: list[Manifest] = []
        if item["kind"] == "NetworkPolicy":
            peers = [
                p for way, key in (("ingress", "from"), ("egress", "to")) for r in spec.get(way, []) for p in r[key]
            ]
            inside = [
                peer["podSelector"] for peer in peers if "podSelector" in peer and "namespaceSelector" not in peer
            ]
            selectors = [spec["podSelector"], *inside]
        elif item["kind"] == "PodDisruptionBudget":
            selectors = [spec["selector"]]
        elif item["kind"] == "Service":
            selectors = [{"matchLabels": spec["selector"]}]
            open_ports = {
                port["name"]
                for _, template in pods(items)
                if matches(selectors[0], template["metadata"].get("labels", {}))
                for container in template["spec"]["containers"]
                for port in container.get("ports", [])
            }
            for port in spec["ports"]:
                if port["targetPort"] not in open_ports:
                    yield f"{named(item)}: no container opens port {port['targetPort']}"
        for selector in selectors:
            if not any(matches(selector, pod) for pod in labels):
                yield f"{named(item)}: selector {selector} takes no pod"


def watched(items: list[Manifest]) -> Iterator[str]:
    """Whatever serves has all three probes, and whatever has several replicas is spread over nodes."""
    for item, template in pods(items):
        if item["kind"] not in SCALABLE:
            continue
        for container in template["spec"]["containers"]:
            missing = [probe for probe in ("startupProbe", "readinessProbe", "livenessProbe") if probe not in container]
            if missing:
                yield f"{named(item)}: container {container['name']} has no {', '.join(missing)}"
        if item["spec"]["replicas"] > 1 and not template["spec"].get("topologySpreadConstraints"):
            yield f"{named(item)} is not spread over nodes"


RULES: tuple[Rule, ...] = (
    hardened,
    unprivileged,
    limited,
    pinned,
    secretless,
    least_rights,
    tokens,
    referenced,
    selecting,
    watched,
)
