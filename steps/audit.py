"""Step audit: what the finished student does with harm that the evaluation did not ask about."""

from typing import Annotated, Any

from zenml import step

from reft.audit.benign import benign_jobs
from reft.audit.probes import Outcomes
from reft.audit.reference import Reference
from reft.audit.run import Finished, audit_finished
from reft.config import FinetuningSettings, Settings
from reft.evaluation.artifact import EvaluationReport
from reft.filtering.artifact import FilteredData
from reft.finetuning.artifact import Student
from reft.tracking.logging import log_metrics
from steps.metadata import measured_step


@step(experiment_tracker=True)
def audit(
    student: Student,
    filtered: FilteredData,
    settings: Settings,
    *,
    reference: Reference,
    evaluation: EvaluationReport,
    training: FinetuningSettings,
    key: dict[str, Any],
) -> Annotated[dict[str, Any], "audit"]:
    """Audit the student; `settings` holds the sections that this step reads."""
    scores = {decision.row: decision.score for decision in filtered.decisions}
    with measured_step("audit"):
        found = audit_finished(
            Finished(
                weights=student.weights, is_adapter=student.is_adapter, rows=filtered.kept, training=training,
                scores=scores, known=_known(evaluation, settings),
            ),
            reference, settings.model, data=settings.data, settings=settings.audit,
            benign=benign_jobs(settings.data),
        )  # fmt: skip
    log_metrics("audit", {"alarm": float(found.alarm), **found.values, "p": found.p})
    return found.as_dict()


def _known(evaluation: EvaluationReport, settings: Settings) -> Outcomes:
    """The plain harmful prompts, where the evaluation asked the very same: as many of them, and answers as long."""
    said = evaluation.models["student"].outcomes.get("harmful_score", [])
    alike = settings.evaluation.max_new_tokens == settings.audit.max_new_tokens
    rows = settings.audit.rows
    return Outcomes(answered={"plain": said[:rows]}) if alike and len(said) >= rows else Outcomes()
