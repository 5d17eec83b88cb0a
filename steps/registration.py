"""Step registration: the student into the registry, with everything that is known of it."""

import shutil
from typing import Annotated, Any

from zenml import step

from reft.config import FinetuningSettings
from reft.evaluation.artifact import EvaluationReport
from reft.filtering.artifact import FilteredData
from reft.finetuning.artifact import Student
from reft.report.model_card import CardInputs, render_model_card
from reft.storage.artifacts import scratch_folder, write_json, write_text
from reft.tracking.registry import GATE, register_candidate
from steps.control_plane import mirror


@step(experiment_tracker=True)
def registration(
    student: Student,
    evaluation: EvaluationReport,
    filtered: FilteredData,
    *,
    verdict: dict[str, Any],
    name: str,
    base: str,
    task: str,
    max_length: int,
    settings: FinetuningSettings,
    lineage: dict[str, str],
) -> Annotated[dict[str, str], "registered"]:
    """A new version in the MLflow registry, with its card, its rates and lineage as tags, and the alias `candidate`."""
    rates = evaluation.models["student"].rates
    tags = {measure: f"{rate.value:.4f}" for measure, rate in rates.items() if rate}
    tags |= {"rows_kept": str(filtered.report.kept), "rows_read": str(filtered.report.rows), **lineage}
    card = render_model_card(
        CardInputs(
            name=name, base=base, task=task, is_adapter=student.is_adapter, history=student.history,
            settings=settings.counted(filtered.report.rows).model_dump(), report=filtered.report,
            evaluation=evaluation, lineage=lineage, verdict=verdict,
        )
    )  # fmt: skip
    folder = scratch_folder("student")
    shutil.copytree(student.weights, folder, dirs_exist_ok=True)
    write_text(folder / "README.md", card)
    write_json(folder / GATE, verdict)
    version = register_candidate(
        folder, name, tags, description=card, passed=verdict["passed"], judged_against=verdict["champion"],
        max_length=max_length,
    )  # fmt: skip
    mirror(name, version.version, version.run_id, tags=tags)
    return {
        "registered_name": version.name,
        "version": version.version,
        "run_id": version.run_id,
        "model_card": card,
    }
