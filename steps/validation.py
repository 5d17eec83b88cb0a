"""Step validation: which of the customer's rows can be used at all."""

from pathlib import Path
from typing import Annotated, Any

from zenml import step

from reft.config import ModelSettings, ValidationSettings
from reft.conversations.formats import column_names
from reft.models.default_model import resolve_model
from reft.models.loading import load_tokenizer
from reft.storage.artifacts import scratch_folder
from reft.storage.files import local_copy
from reft.storage.fingerprint import of_path
from reft.tracking.logging import log_dataset, log_folder, log_metrics
from reft.validation.validate import ValidatedData, validate_user_data
from steps.materializer import FolderMaterializer
from steps.metadata import measured_step


@step(experiment_tracker=True, output_materializers={"validated": FolderMaterializer})
def validation(
    path: str,
    model: ModelSettings,
    settings: ValidationSettings,
    *,
    read: dict[str, str | None],
    key: dict[str, Any],
) -> Annotated[ValidatedData, "validated"]:
    """Check the user's rows; bad ones go to quarantine, a bad file stops the job before any training.

    `read` says how: `columns`, `split`, and the `held_out` rows that must not be among them.
    """
    with measured_step("validation"):
        tokenizer = load_tokenizer(resolve_model(model.name), model.chat_template, model.trust_remote_code)
        docs, file = scratch_folder("docs"), local_copy(path, scratch_folder("input"))
        test = Path(read["held_out"]) if read["held_out"] else None
        validated = validate_user_data(
            file,
            tokenizer,
            settings,
            max_length=model.max_length,
            columns=column_names(read["columns"]),
            held_out=test,
            docs=docs / "data_docs",
            split=read["split"] or "",
        )
    if validated.docs:
        log_folder(validated.docs, "data_docs")
    log_dataset(path, "user", of_path(file))
    log_metrics(
        "data",
        {"rows": len(validated.rows), "unusable": len(validated.quarantined), "left_out": len(validated.left_out)},
    )
    return validated
