"""Prints, as JSON, what ZenML would ask Kubernetes for: every step's Job, for each run configuration named.

Run in a process of its own, with a ZenML store of its own: `python -m tests.deploy.compile_runs FILE...`.
"""

import json
import sys
from typing import Any

from kubernetes.client import ApiClient
from zenml.client import Client
from zenml.integrations.kubernetes.flavors import KubernetesOrchestratorSettings
from zenml.integrations.kubernetes.manifest_utils import (
    build_job_manifest,
    build_pod_manifest,
    pod_template_manifest_from_pod,
)
from zenml.pipelines.build_utils import create_pipeline_build

from pipelines.reft import reft


def compiled(path: str) -> dict[str, Any]:
    """The Job of every step, and the setting of the pipeline, as the orchestrator's own code builds them."""
    pipeline = reft.with_options(config_path="zenml.yaml").with_options(config_path=path)
    pipeline.prepare()
    snapshot, _, _ = pipeline._compile(**pipeline._run_args)
    build = create_pipeline_build(snapshot=snapshot)
    jobs = {}
    for name, step in snapshot.step_configurations.items():
        settings = _settings(step.config.settings)
        image = build.get_image("orchestrator", step=name) if build else step.config.docker_settings.parent_image
        jobs[name] = _job(name, image, settings, settings.step_pod_service_account_name or "default")
    own = _settings(snapshot.pipeline_configuration.settings)
    image = build.get_image("orchestrator") if build else ""
    own = own.model_copy(update={"pod_settings": own.orchestrator_pod_settings, "pod_failure_policy": None})
    jobs["orchestrator"] = _job("orchestrator", image, own, own.service_account_name or "default")
    return jobs


def _settings(found: dict[str, Any]) -> KubernetesOrchestratorSettings:
    (key,) = [key for key in found if key.startswith("orchestrator")]
    return KubernetesOrchestratorSettings.model_validate(found[key].model_dump(exclude_unset=True))


def _job(name: str, image: str, settings: KubernetesOrchestratorSettings, account: str) -> dict[str, Any]:
    pod = build_pod_manifest(
        None, image, ["python"], ["-m", "zenml"], settings.privileged, settings.pod_settings, account,
        termination_grace_period_seconds=settings.pod_stop_grace_period,
    )  # fmt: skip
    job = build_job_manifest(
        job_name=name.replace("_", "-"),
        pod_template=pod_template_manifest_from_pod(pod),
        backoff_limit=settings.backoff_limit_margin,
        ttl_seconds_after_finished=settings.ttl_seconds_after_finished,
        pod_failure_policy=settings.pod_failure_policy,
    )
    return {"apiVersion": "batch/v1", "kind": "Job", **ApiClient().sanitize_for_serialization(job)}


if __name__ == "__main__":
    stack = Client().active_stack_model.name
    print(json.dumps({"stack": stack, **{path: compiled(path) for path in sys.argv[1:]}}))
