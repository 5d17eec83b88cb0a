"""Registers two versions, promotes one and fails to promote the other, on ZenML and MLflow stores of its own.

`python -m tests.pipelines.promote_for_real FOLDER` prints, as JSON, what either side knows afterwards.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import mlflow
from zenml import get_step_context, pipeline, step
from zenml.client import Client
from zenml.enums import StackComponentType as Type

from pipelines.promotion import promotion
from reft.tracking.registry import champion_version, register_candidate
from steps.control_plane import mirror, named
from steps.notify import notify, on_failure

FOLDER = Path(sys.argv[1])


@step
def rows(count: int) -> Annotated[list[str], "kept_rows"]:
    return [f"row {i}" for i in range(count)]


@step(enable_cache=False)
def register(kept: list[str], passed: bool) -> Annotated[str, "version"]:
    folder = FOLDER / f"student-{len(kept)}"
    folder.mkdir(exist_ok=True)
    (folder / "adapter_model.safetensors").write_text("\n".join(kept))
    (folder / "gate.json").write_text(json.dumps({"passed": passed}))
    tags = {"rows_kept": str(len(kept))}
    found = register_candidate(folder, "student", tags, description="card", passed=passed)
    mirror("student", found.version, found.run_id, tags=tags)
    return found.version


@pipeline(on_failure=on_failure)
def registering(count: int, passed: bool) -> None:
    register(rows(count), passed)


@step(enable_cache=False)
def say(message: str) -> bool:
    assert get_step_context().step_run.name == "say"
    return notify(message)


@pipeline
def saying() -> None:
    say("to nobody")


def main() -> None:
    client = Client()
    saying()  # no alerter yet: nothing happens, and nothing fails
    client.create_flavor("tests.pipelines.file_alerter.FileAlerterFlavor", Type.ALERTER)
    client.create_stack_component("told", "file", Type.ALERTER, {"path": str(FOLDER / "told.txt")})
    default = client.active_stack_model
    client.create_stack("with_alerter", {
        Type.ORCHESTRATOR: default.components[Type.ORCHESTRATOR][0].id,
        Type.ARTIFACT_STORE: default.components[Type.ARTIFACT_STORE][0].id,
        Type.ALERTER: "told",
    })  # fmt: skip
    client.activate_stack("with_alerter")
    for count, passed in ((3, True), (5, False)):
        registering(count=count, passed=passed)
    for to in ("challenger", "champion"):
        promotion(name="student", to=to, version="1", by="reviewer", reason="good")
    with suppress(RuntimeError):  # ZenML's own words for a step that failed
        promotion(name="student", to="champion", version="2", by="somebody", reason="")
    versions = client.list_model_versions(model_name_or_id="student", hydrate=True).items
    print(json.dumps({
        "champion": champion_version("student"),
        "told": (FOLDER / "told.txt").read_text(),
        "zenml": {
            v.name: {
                "stage": v.stage, "metadata": {k: str(m) for k, m in v.run_metadata.items()},
                "rows": v.get_artifact("kept_rows").load(),
            }
            for v in versions
        },
        "tags": dict(mlflow.MlflowClient().get_model_version("student", "1").tags),
        "names": [named("1"), named("2")],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
