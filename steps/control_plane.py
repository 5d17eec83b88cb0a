"""ZenML's own model of the student, so that lineage can be walked from either side.

A version of the MLflow registry is a version here too (`mlflow-12` for 12), linked to everything that made it: the rows
that trained it, those that the filter held back, the teacher. Its stage follows MLflow's aliases.
"""

from zenml import Model, get_step_context, link_artifact_to_model, log_metadata
from zenml.client import Client
from zenml.enums import ModelStages

STAGES = {"challenger": ModelStages.STAGING, "champion": ModelStages.PRODUCTION}


def named(version: str) -> str:
    """What a version of the registry is called here: ZenML keeps bare numbers for itself."""
    return f"mlflow-{version}"


def mirror(name: str, version: str, run_id: str, *, tags: dict[str, str]) -> None:
    """From inside a step: make the registry's version known to ZenML, with all that this run has made so far."""
    model = Model(name=name, version=named(version), description=f"Version {version} in the MLflow registry.")
    run = get_step_context().pipeline_run
    for step in run.steps.values():
        for outputs in step.outputs.values():
            for artifact in outputs:
                link_artifact_to_model(artifact, model)
    found = {"mlflow_version": version, "mlflow_run": run_id, "pipeline_run": run.name, **tags}
    log_metadata(metadata=dict(found), model_name=name, model_version=named(version))


def follow(name: str, to: str, version: str) -> bool:
    """Give a promoted version its stage; whether ZenML knows the version. Who had the stage before is archived."""
    client = Client()
    if not client.list_models(name=name).items:
        return False
    known = client.list_model_versions(model_name_or_id=name, name=named(version)).items
    for one in known:
        one.set_stage(STAGES[to], force=True)
    return bool(known)
