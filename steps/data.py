"""Step validate_data."""

from pathlib import Path
from typing import Annotated

from zenml import step

from reft.artifacts import scratch_folder
from reft.config import DataSettings, ModelSettings, ValidationSettings
from reft.conversations.forms import column_names
from reft.cost import measured
from reft.files import local_copy
from reft.fingerprint import of_path
from reft.models.default_model import resolve_model
from reft.models.loading import load_tokenizer
from reft.tracking.logging import log_dataset, log_folder, log_metrics
from reft.validation.validate import ValidatedData, validate_user_data
from steps.materializer import FolderMaterializer


@step(experiment_tracker=True, output_materializers={"validated": FolderMaterializer})
def validate_data(
    path: str,
    columns: str | None,
    held_out: str | None,
    model: ModelSettings,
    settings: ValidationSettings,
    fingerprint: str,
) -> tuple[Annotated[ValidatedData, "validated"], Annotated[dict[str, float], "validation_cost"]]:
    """Check the user's rows; bad ones go to quarantine, a bad file stops the job before any training."""
    with measured("validate_data") as cost:
        tokenizer = load_tokenizer(resolve_model(model.name), model.chat_template, model.trust_remote_code)
        docs, file = scratch_folder("docs"), local_copy(path, scratch_folder("input"))
        test = Path(held_out) if held_out else None
        validated = validate_user_data(
            file, tokenizer, settings, model.max_length, column_names(columns), test, docs / "data_docs"
        )
    if validated.docs:
        log_folder(validated.docs, "data_docs")
    log_dataset(path, "user", of_path(file))
    log_metrics("data", {"rows": len(validated.rows), "unusable": len(validated.quarantined)})
    return validated, cost.as_dict()


def labels_of(data: DataSettings) -> dict[int, str]:
    """Which user rows are harmful, where the job says so."""
    import json

    if not data.user_labels:
        return {}
    lines = Path(data.user_labels).read_text(encoding="utf-8").splitlines()
    return {int(value["row"]): str(value["label"]) for value in map(json.loads, lines)}
