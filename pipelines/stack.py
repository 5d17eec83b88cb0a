"""Sets up this clone: a local ZenML store, and a stack with MLflow tracking and registry. Runs in one process."""

import os
import site
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENT = "reft_pipeline"  # the pipeline's name: ZenML's tracker logs there
STACK, TRACKER, REGISTRY = "reft_local", "reft_mlflow_tracker", "reft_mlflow_registry"


def environment() -> dict[str, str]:
    """What every Python process of this clone's virtual environment starts with, unless already set."""
    state = ROOT / ".reft"
    return {
        "ZENML_CONFIG_PATH": str(state / "zenml"),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_LOGGING_VERBOSITY": "WARN",
        "AUTO_OPEN_DASHBOARD": "false",
        "MLFLOW_TRACKING_URI": f"sqlite:///{state / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "UV_CACHE_DIR": str(state / "uv"),
        "DS_ACCELERATOR_QUIET": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }


def write_environment() -> None:
    """Let the bare commands of the virtual environment (`zenml`, `mlflow`, `reft`) find this clone's stores.

    A `.pth` line is run when Python starts; nothing outside of the virtual environment changes.
    """
    sets = "; ".join(f"os.environ.setdefault({name!r}, {value!r})" for name, value in environment().items())
    (Path(site.getsitepackages()[0]) / "reft_environment.pth").write_text(f"import os; {sets}\n")
    for name, value in environment().items():
        os.environ.setdefault(name, value)


def place_artifacts() -> None:
    """Let MLflow keep files beside its database; by default they land in whatever folder a run starts from."""
    import mlflow

    if mlflow.get_experiment_by_name(EXPERIMENT) is None:
        mlflow.create_experiment(EXPERIMENT, artifact_location=(ROOT / ".reft" / "mlflow").as_uri())


def register_stack() -> None:
    """Create and activate the stack; does nothing where it is there already."""
    from zenml.client import Client
    from zenml.enums import StackComponentType as Type

    if not (ROOT / ".zen").is_dir():
        Client.initialize(ROOT)
    client = Client()
    address = os.environ["MLFLOW_TRACKING_URI"]
    wanted = (
        (TRACKER, Type.EXPERIMENT_TRACKER, {"tracking_uri": address}),
        (REGISTRY, Type.MODEL_REGISTRY, {}),
    )
    for name, kind, configuration in wanted:
        if not client.list_stack_components(name=name, type=kind).items:
            client.create_stack_component(name, "mlflow", kind, configuration)
    if not client.list_stacks(name=STACK).items:
        default = client.get_stack("default")
        client.create_stack(
            STACK,
            {
                Type.ORCHESTRATOR: default.components[Type.ORCHESTRATOR][0].id,
                Type.ARTIFACT_STORE: default.components[Type.ARTIFACT_STORE][0].id,
                Type.EXPERIMENT_TRACKER: TRACKER,
                Type.MODEL_REGISTRY: REGISTRY,
            },
        )
    if client.active_stack_model.name != STACK:
        client.activate_stack(STACK)


if __name__ == "__main__":
    (ROOT / ".reft").mkdir(exist_ok=True)
    write_environment()
    # A set-up that goes well is silent; in a run, what MLflow says goes into the run's log (pipelines/terminal.py).
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    if "ZENML_STORE_URL" not in os.environ:  # a server has stacks of its own (deploy/k8s/register_stack.py)
        place_artifacts()
        register_stack()
