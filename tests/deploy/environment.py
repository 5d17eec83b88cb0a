"""What a server's container finds in its environment: the Secrets as make_secrets.sh makes them, and the ConfigMaps."""

import base64
import subprocess
from typing import Any

import yaml

from tests.deploy.rendering import DEPLOY, Manifest, find, needs_kubectl, rendered

SCRIPT = DEPLOY / "make_secrets.sh"


def made() -> dict[str, Manifest]:
    """What the script would create, by name."""
    folder = needs_kubectl().rpartition("/")[0]
    environment = {"PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin", "DRY_RUN": "1"}
    done = subprocess.run([str(SCRIPT)], capture_output=True, text=True, check=True, env=environment, timeout=60)
    return {item["metadata"]["name"]: item for item in yaml.safe_load_all(done.stdout) if item}


def value(secrets: dict[str, Manifest], name: str, key: str) -> str:
    return base64.b64decode(secrets[name]["data"][key]).decode()


def environment_of(
    name: str, secrets: dict[str, Manifest], *, overlay: str = "local-kind", kind: str = "containers"
) -> dict[str, str]:
    """What a server's first container of a kind gets as its environment, Secrets and ConfigMaps resolved."""
    items = rendered(overlay)
    template = find(items, "Deployment", name)["spec"]["template"]
    container = template["spec"][kind][0]
    result: dict[str, str] = {}
    for source in container.get("envFrom", []):
        result |= find(items, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container["env"]:
        source: dict[str, Any] = variable.get("valueFrom", {})
        if source.get("secretKeyRef", {}).get("optional"):
            continue
        if "secretKeyRef" in source:
            result[variable["name"]] = value(secrets, source["secretKeyRef"]["name"], source["secretKeyRef"]["key"])
        elif "configMapKeyRef" in source:
            reference = source["configMapKeyRef"]
            result[variable["name"]] = find(items, "ConfigMap", reference["name"])["data"][reference["key"]]
        else:
            result[variable["name"]] = variable["value"]
    return result
