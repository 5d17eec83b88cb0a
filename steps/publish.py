"""Steps register and report: the student into the registry, the run's result in front of people."""

import shutil
from pathlib import Path
from typing import Annotated, Any

from zenml import step
from zenml.types import HTMLString

from reft.artifacts import scratch_folder, write_json, write_text
from reft.config import FinetuneSettings, GateSettings, Settings
from reft.distillation.artifact import Student
from reft.evaluation.artifact import EvaluationReport
from reft.filtering.artifact import FilteredData
from reft.models.default_model import resolve_model
from reft.promotion.gate import judge
from reft.report.html import ReportInputs, render_report
from reft.report.model_card import CardInputs, render_model_card
from reft.report.summary import build_summary
from reft.scorer import save_scorer
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import calibration_prompts
from reft.tracking.logging import log_folder, log_metrics
from reft.tracking.registry import GATE, gate_of, register_candidate
from reft.validation.validate import ValidatedData
from steps.control_plane import mirror
from steps.data import labels_of
from steps.notify import notify


@step(experiment_tracker=True)
def gate(
    evaluation: EvaluationReport, filtered: FilteredData, settings: GateSettings, name: str, champion: str, rows: str
) -> Annotated[dict[str, Any], "verdict"]:
    """Hold the student against the gate's limits and against the version that serves (`champion`; "" for none)."""
    served = gate_of(name, champion) if champion else {}
    student = evaluation.models["student"]
    verdict = judge(student, filtered.report.fpr, rows, settings, served.get("outcomes"), served.get("rows", ""))
    log_metrics("gate", {"passed": float(verdict.passed)})
    if not verdict.passed:
        notify(
            f"ReFT: the student for {name} has not passed its gate; version {champion or 'none'} goes on serving\n"
            f"{verdict.text}"
        )
    print(f"the gate is {'passed' if verdict.passed else 'NOT passed'}:\n{verdict.text}")
    every = max(1, len(filtered.decisions) // 1000)
    scores = [d.score for d in filtered.decisions[::every]]  # enough to see a drift by
    removed = 1 - filtered.report.kept / max(1, filtered.report.rows)
    return {
        **verdict.as_dict(), "outcomes": student.outcomes, "champion": champion, "scores": scores, "removed": removed,
    }  # fmt: skip


@step(experiment_tracker=True)
def register(
    student: Student,
    evaluation: EvaluationReport,
    filtered: FilteredData,
    verdict: dict[str, Any],
    name: str,
    base: str,
    task: str,
    settings: FinetuneSettings,
    lineage: dict[str, str],
) -> Annotated[dict[str, str], "registered"]:
    """A new version in the MLflow registry, with its card, its scores and lineage as tags and the alias `candidate`."""
    scores = evaluation.models["student"]
    rates = {"harmful_score": scores.harmful_score, "over_refusal": scores.over_refusal, "accuracy": scores.accuracy}
    tags = {k: f"{v.value:.4f}" for k, v in rates.items() if v}
    tags |= {"rows_kept": str(filtered.report.kept), "rows_read": str(filtered.report.rows), **lineage}
    card = render_model_card(
        CardInputs(
            name, base, task, student.is_adapter, student.history, settings.model_dump(), filtered.report, evaluation,
            lineage, verdict,
        )
    )  # fmt: skip
    folder = scratch_folder("student")
    shutil.copytree(student.weights, folder, dirs_exist_ok=True)
    write_text(folder / "README.md", card)
    write_json(folder / GATE, verdict)
    version = register_candidate(folder, name, tags, card, verdict["passed"])
    mirror(name, version.version, version.run_id, tags)
    return {
        "registered_name": version.name,
        "version": version.version,
        "run_id": version.run_id,
        "model_card": card,
    }


@step(experiment_tracker=True, enable_cache=False)
def report(
    validated: ValidatedData,
    teacher: Teacher,
    filtered: FilteredData,
    student: Student,
    evaluation: EvaluationReport,
    registered: dict[str, str],
    settings: Settings,
    validation_cost: dict[str, float],
    extraction_cost: dict[str, float],
    teacher_cost: dict[str, float],
    filter_cost: dict[str, float],
    finetune_cost: dict[str, float],
    evaluation_cost: dict[str, float],
    soft_labels_cost: dict[str, float] | None = None,
    plain_cost: dict[str, float] | None = None,
    plain: Student | None = None,
) -> Annotated[HTMLString, "report"]:
    """The HTML report and `summary.json`, under `runs/latest`, in MLflow and as a ZenML visualization."""
    folder = Path(settings.tracking.runs_folder) / "latest"
    costs = {
        "validate_data": validation_cost,
        "extract_refusal_feature": extraction_cost,
        "train_teacher": teacher_cost,
        **({"distill_soft_labels": soft_labels_cost} if soft_labels_cost else {}),
        "filter_data": filter_cost,
        "finetune": finetune_cost,
        "evaluate": evaluation_cost,
        **({"plain_sft": plain_cost} if plain_cost else {}),
    }
    models = {
        "student": {
            "registered_name": registered["registered_name"],
            "version": registered["version"],
            "path": str(folder / "student"),
        },
        "base": resolve_model(settings.model.name),
        "teacher": str(folder / "teacher"),
    }
    summary = build_summary(filtered, evaluation, settings.data.task, costs, models)
    page = _page(summary, validated, teacher, filtered, evaluation, student, plain, settings)
    _leave(folder, student, registered["model_card"], filtered, validated)
    save_scorer(folder / "teacher", teacher, settings.model, calibration_prompts(settings.data))
    write_text(folder / "report.html", page)
    write_json(folder / "summary.json", summary)
    log_folder(folder / "report.html", "report")
    log_folder(folder / "summary.json", "report")
    return HTMLString(page)


def _page(
    summary: dict[str, Any],
    validated: ValidatedData,
    teacher: Teacher,
    filtered: FilteredData,
    evaluation: EvaluationReport,
    student: Student,
    plain: Student | None,
    settings: Settings,
) -> str:
    histories = {"teacher": teacher.history, "student": student.history}
    if plain is not None:
        histories["plain finetune"] = plain.history
    return render_report(
        ReportInputs(
            summary,
            validated.rows,
            validated.quarantined,
            validated.checks,
            filtered,
            evaluation,
            teacher.untrained.separations,
            teacher.feature.separations,
            histories,
            labels_of(settings.data),
            settings.filter.examples,
        )
    )


def _leave(folder: Path, student: Student, card: str, filtered: FilteredData, validated: ValidatedData) -> None:
    """The student's files and the decision table, for whoever does not want to go through a registry."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(student.weights, folder / "student")
    write_text(folder / "student" / "README.md", card)
    filtered.save(folder / "filter")
    if validated.docs:
        shutil.copytree(validated.docs, folder / "data_docs")
