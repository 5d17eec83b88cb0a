"""What Kubernetes refuses of a TrainJob or a Job."""

import re
from typing import Any

import kubernetes_validate
from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob

from tests.deploy import lint
from tests.deploy.schemas import VERSIONS

RULES_OF_PODS = (lint.hardened, lint.unprivileged, lint.limited, lint.pinned, lint.secretless, lint.tokens)
# What a label value, an annotation's or label's key, and a name may be, after Kubernetes' documentation.
QUALIFIED = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message

    def body(self) -> dict[str, Any]:
        said = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Test"}
        return {**said, "code": self.status, "message": self.message}


def check(body: dict[str, Any]) -> None:
    """Refuse what the TrainJob's schema does not hold, by the official models: what they do not know they drop."""
    try:
        understood = TrainerV1alpha1TrainJob.from_dict(body).to_dict()
    except ValueError as error:
        raise Refused(422, f"invalid: {error}") from error
    if understood != body:
        raise Refused(400, f"strict decoding error: {body} is understood as {understood}")
    metadata, trainer = body["metadata"], body["spec"]["trainer"]
    names = [variable["name"] for variable in trainer["env"]]
    patched = [patch["manager"] for patch in body["spec"]["runtimePatches"]]
    rules = {
        "apiVersion": body["apiVersion"] == "trainer.kubeflow.org/v1alpha1" and body["kind"] == "TrainJob",
        "name": NAME.fullmatch(metadata["name"]),
        "keys": all(map(QUALIFIED.fullmatch, [*metadata["labels"], *metadata["annotations"]])),
        "label values": all(map(QUALIFIED.fullmatch, metadata["labels"].values())),
        "env, a map by name": len(set(names)) == len(names)
        and all(isinstance(v["value"], str) for v in trainer["env"]),
        "reserved env": not any(name.startswith("PET_") for name in names),
        "runtimePatches, a map by manager": len(set(patched)) == len(patched),
    }
    if broken := [rule for rule, kept in rules.items() if not kept]:
        raise Refused(422, f"TrainJob is invalid: {broken}")


def check_job(body: dict[str, Any]) -> None:
    """Refuse what is no batch/v1 Job by Kubernetes' own documents, or breaks a restricted namespace's policy."""
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(body, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Refused(422, f"invalid: {error}") from error
    if broken := [said for rule in RULES_OF_PODS for said in rule([body])]:
        raise Refused(403, f"violates the namespace's policy: {broken}")
    metadata, spec = body["metadata"], body["spec"]
    names = [variable["name"] for variable in spec["template"]["spec"]["containers"][0]["env"]]
    rules = {
        "name": NAME.fullmatch(metadata["name"]),
        "keys": all(map(QUALIFIED.fullmatch, [*metadata["labels"], *metadata["annotations"]])),
        "env, a map by name": len(set(names)) == len(names),
        "an index and its limit go together": spec["completionMode"] == "Indexed"
        and spec["maxFailedIndexes"] <= spec["completions"] <= 100_000,
        "a policy for failed pods replaces failed pods": spec["podReplacementPolicy"] == "Failed",
    }
    if broken := [rule for rule, kept in rules.items() if not kept]:
        raise Refused(422, f"Job is invalid: {broken}")
