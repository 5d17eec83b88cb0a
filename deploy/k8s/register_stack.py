"""Registers the cluster's stack with the ZenML server that you are logged in to; repeating it changes what differs.

    zenml login http://localhost:8080
    python deploy/k8s/register_stack.py --context my-cluster --artifacts s3://bucket/zenml \
        --registry registry.example.org/team --mlflow http://mlflow.reft.svc:5000

With --in-cluster it is the stack of the finetuning service, whose pods submit runs by their own account.
MLflow's and the store's credentials come from the environment (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD;
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and go into ZenML's secret store; without them the pods' own identity counts.
"""

import argparse
import os
from typing import Any

from zenml.client import Client
from zenml.enums import StackComponentType as Type
from zenml.exceptions import EntityExistsError

STACK, SERVICE_STACK = "reft_kubernetes", "reft_service"
# A secret, the variables it is made of, and the names that they get in it.
SECRETS = {
    "reft_mlflow": {"MLFLOW_TRACKING_USERNAME": "username", "MLFLOW_TRACKING_PASSWORD": "password"},
    "reft_store": {"AWS_ACCESS_KEY_ID": "aws_access_key_id", "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key"},
}


def keep_secret(client: Client, name: str) -> bool:
    """Store a secret's values from the environment; whether they are there."""
    values = {key: os.environ[variable] for variable, key in SECRETS[name].items() if os.environ.get(variable)}
    if len(values) != len(SECRETS[name]):
        return False
    try:
        client.create_secret(name, values)
    except EntityExistsError:
        client.update_secret(name, add_or_update_values=values)
    return True


def components(options: argparse.Namespace, secrets: dict[str, bool]) -> dict[Type, tuple[str, str, dict[str, Any]]]:
    """(name, flavor, configuration) of every component of the stack."""
    orchestrator: dict[str, Any] = {
        "kubernetes_namespace": options.namespace, "pass_zenml_token_as_secret": False,
        # The service follows its runs by ZenML's server (pipelines/attached.py), from whichever pod.
        "synchronous": not options.in_cluster,
    }  # fmt: skip
    orchestrator |= {"incluster": True} if options.in_cluster else {"kubernetes_context": options.context}
    tracker: dict[str, Any] = {"tracking_uri": options.mlflow}
    if secrets["reft_mlflow"]:
        tracker |= {f"tracking_{key}": f"{{{{reft_mlflow.{key}}}}}" for key in ("username", "password")}
    scheme = options.artifacts.split("://")[0]
    store: dict[str, Any] = {"path": options.artifacts}
    if scheme == "s3" and options.s3_endpoint:
        store["client_kwargs"] = {"endpoint_url": options.s3_endpoint}
    if scheme == "s3" and secrets["reft_store"]:
        store["authentication_secret"] = "reft_store"
    return {
        Type.ORCHESTRATOR: (
            "reft_service_orchestrator" if options.in_cluster else "reft_orchestrator",
            "kubernetes",
            orchestrator,
        ),
        Type.ARTIFACT_STORE: ("reft_store", {"s3": "s3", "gs": "gcp"}.get(scheme, "local"), store),
        # ZenML wants a registry and an image builder in the stack; with skip_build neither is used.
        Type.CONTAINER_REGISTRY: ("reft_registry", "default", {"uri": options.registry}),
        Type.IMAGE_BUILDER: ("reft_builder", "local", {}),
        Type.EXPERIMENT_TRACKER: ("reft_kubernetes_tracker", "mlflow", tracker),
        Type.MODEL_REGISTRY: ("reft_kubernetes_registry", "mlflow", {}),
    }


def register(options: argparse.Namespace) -> None:
    """Create what is not there, update what differs, and activate the stack."""
    client = Client()
    secrets = {name: keep_secret(client, name) for name in SECRETS}
    wanted = components(options, secrets)
    for kind, (name, flavor, configuration) in wanted.items():
        if found := client.list_stack_components(name=name, type=kind).items:
            if found[0].flavor_name != flavor:
                raise SystemExit(f"{name} is of flavor {found[0].flavor_name}: delete it to make a {flavor} one")
            if {**found[0].configuration, **configuration} != found[0].configuration:
                client.update_stack_component(name, kind, configuration=configuration)
        else:
            client.create_stack_component(name, flavor, kind, configuration)
    stack = SERVICE_STACK if options.in_cluster else STACK
    if not client.list_stacks(name=stack).items:
        client.create_stack(stack, {kind: name for kind, (name, _, _) in wanted.items()})
    if options.in_cluster:  # for pods alone: on this machine it could run nothing
        print(f"stack: {stack}")
        return
    client.activate_stack(stack)
    print(f"active stack: {stack} ({', '.join(name for name, _, _ in wanted.values())})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--namespace", default="reft")
    parser.add_argument("--context", help="of your kubeconfig; none: the current one")
    parser.add_argument("--in-cluster", action="store_true", help="the stack of the service's pods")
    parser.add_argument("--artifacts", default="s3://reft/zenml", help="s3:// or gs://")
    parser.add_argument("--s3-endpoint", help="of a store that is not Amazon's")
    parser.add_argument("--registry", required=True, help="where your images are")
    parser.add_argument("--mlflow", default="http://mlflow.reft.svc:5000")
    register(parser.parse_args())


if __name__ == "__main__":
    main()
