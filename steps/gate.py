"""Step gate: may the student serve?"""

from typing import Annotated, Any

from zenml import step

from reft.config import GateSettings
from reft.evaluation.artifact import EvaluationReport
from reft.filtering.artifact import FilteredData
from reft.gate.gate import Case, judge
from reft.tracking.evaluations import champion_of
from reft.tracking.logging import log_metrics
from steps.notify import notify

# Enough scores of the user's rows to see a drift by.
SAMPLE = 1000


@step(experiment_tracker=True)
def gate(
    evaluation: EvaluationReport,
    filtered: FilteredData,
    settings: GateSettings,
    *,
    name: str,
    champion: str,
    judged_anew: str,
    code: str,
    own_code: str,
    audit: dict[str, Any] | None = None,
) -> Annotated[dict[str, Any], "verdict"]:
    """Hold the student against every rule.

    Args:
        champion: the version that serves; "" for none.
        judged_anew: which later evaluation of it counts; a new one is a new verdict.
        code: a digest of the code and libraries of the evaluation.
        own_code: the same of the gate and its rules.
    """
    student = evaluation.models["student"]
    served = champion_of(name, champion, rows=evaluation.rows) if champion else None
    case = Case(
        candidate=student, filter_fpr=filtered.report.fpr, rows=evaluation.rows, code=code, settings=settings,
        champion=served, audit=audit,
    )  # fmt: skip
    verdict = judge(case)
    log_metrics("gate", {"passed": float(verdict.passed)})
    if not verdict.passed:
        notify(
            f"ReFT: the student for {name} has not passed its gate; version {champion or 'none'} goes on serving\n"
            f"{verdict.text}"
        )
    every = max(1, len(filtered.decisions) // SAMPLE)
    scores = [d.score for d in filtered.decisions[::every] if d.scored]
    removed = 1 - filtered.report.kept / max(1, filtered.report.rows)
    return {
        **verdict.as_dict(), "outcomes": student.outcomes, "champion": champion, "scores": scores, "removed": removed,
    }  # fmt: skip
