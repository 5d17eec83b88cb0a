"""Which calls of the Kubernetes API a module of ZenML's integration can make, read from its source.

Every mention of a method of an API class counts, and so does every mention in a function of `kube_utils`
that the module mentions, however deep. Nothing is run, so a branch that our settings never take counts too;
the test lists those with the reason.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import zenml.integrations.kubernetes as integration
from kubernetes import client

Right = tuple[str, str, str]  # verb, API group, resource

GROUPS = {
    client.CoreV1Api: "",
    client.BatchV1Api: "batch",
    client.RbacAuthorizationV1Api: "rbac.authorization.k8s.io",
    client.CustomObjectsApi: "*",
}
METHOD = re.compile(r"(create|list|read|patch|delete|replace|watch|connect)_(collection_)?(namespaced_|cluster_)?(\w+)")
FOLDER = Path(str(integration.__file__)).parent


def _mentions(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id


def _is_api_method(name: str) -> bool:
    return METHOD.fullmatch(name) is not None and any(hasattr(api, name) for api in GROUPS)


def methods_of(module: str) -> set[str]:
    """Names of the API's methods that a module can reach, such as `create_namespaced_job`."""
    shared = ast.parse((FOLDER / "kube_utils.py").read_text())
    bodies = {node.name: node for node in shared.body if isinstance(node, ast.FunctionDef)}
    found: set[str] = set()
    seen: set[str] = set()
    waiting: list[ast.AST] = [ast.parse((FOLDER / module).read_text())]
    while waiting:
        for name in _mentions(waiting.pop()):
            if _is_api_method(name):
                found.add(name)
            elif name in bodies and name not in seen:
                seen.add(name)
                waiting.append(bodies[name])
    return found


def right_of(method: str) -> Right:
    """The verb, group and resource that the API server checks for a call of this method."""
    group = next(group for api, group in GROUPS.items() if hasattr(api, method))
    matched = METHOD.fullmatch(method)
    assert matched is not None
    verb, collection, _, noun = matched.groups()
    resource = noun.replace("_", "")
    if resource.endswith("log"):
        resource = resource.removesuffix("log") + "s/log"
    elif not resource.endswith("s"):
        resource += "s"
    if collection and verb == "delete":
        verb = "deletecollection"
    return {"read": "get", "replace": "update", "connect": "create"}.get(verb, verb), group, resource
