"""Step report: the run's result in front of people."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from zenml import get_step_context, step
from zenml.types import HTMLString

from reft.config import Settings
from reft.evaluation.artifact import EvaluationReport
from reft.filtering.artifact import FilteredData
from reft.filtering.inputs import save_inputs
from reft.filtering.provider import ProviderScores
from reft.finetuning.artifact import Student, epoch_place
from reft.models.default_model import resolve_model
from reft.report.html import RunResult, render_report
from reft.report.summary import RunFacts, build_summary, table
from reft.storage.artifacts import write_json, write_text
from reft.storage.folders import replaced_folder
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import calibration_prompts
from reft.tracking.logging import log_folder
from reft.validation.labels import labels_of
from reft.validation.validate import ValidatedData
from steps.metadata import costs_of_run, note_reused, reused_steps

GOLDEN = "golden_answers.jsonl"


@step(experiment_tracker=True, enable_cache=False)
def report(
    validated: ValidatedData,
    teacher: Teacher,
    filtered: FilteredData,
    *,
    provider: ProviderScores,
    student: Student,
    evaluation: EvaluationReport,
    registered: dict[str, str],
    verdict: dict[str, Any],
    lineage: dict[str, str],
    settings: Settings,
    sft: Student | None = None,
    audit: dict[str, Any] | None = None,
) -> Annotated[HTMLString, "report"]:
    """The HTML report and `summary.json`, under `runs/latest`, in MLflow and as a ZenML visualization.

    It runs even where every other step is reused, so that each run ends with its table and its verdict.
    """
    note_reused()
    folder = Path(settings.tracking.runs_folder) / "latest"
    summary = build_summary(
        filtered, evaluation, settings.data.task, cost=costs_of_run(), verdict=verdict,
        models=_models(folder, registered, base=settings.model.name), run=_run(settings), lineage=lineage,
        audit=audit,
    )  # fmt: skip
    histories = {"teacher": teacher.history, "student": student.history, **({"sft": sft.history} if sft else {})}
    page = render_report(
        RunResult(
            summary=summary, validated=validated, teacher=teacher, filtered=filtered, evaluation=evaluation,
            histories=histories, labels=labels_of(settings.data), examples=settings.filtering.examples,
        )
    )  # fmt: skip
    with replaced_folder(folder) as fresh:
        _leave_files(fresh, student, registered["model_card"], filtered=filtered, validated=validated)
        _leave_teacher(fresh / "teacher", teacher, provider=provider, settings=settings)
        write_text(fresh / "report.html", page)
        write_json(fresh / "summary.json", summary)
        write_json(fresh / "losses.json", student.history)
        if evaluation.golden:
            write_text(fresh / GOLDEN, "".join(json.dumps(line) + "\n" for line in evaluation.golden))
    log_folder(folder / "report.html", "report")
    log_folder(folder / "summary.json", "report")
    print(f"\n{table(summary)}\n\nreport: {folder / 'report.html'} (reft show: this again)", flush=True)
    return HTMLString(page)


def _run(settings: Settings) -> RunFacts:
    """This run, up to now."""
    run, now = get_step_context().pipeline_run, datetime.now(UTC)
    began = (run.start_time or run.created).replace(tzinfo=UTC)  # ZenML's times are in UTC and do not say so
    return RunFacts(
        name=run.name, id=str(run.id), model=settings.model.name, seed=settings.seed, began=began,
        seconds=(now - began).total_seconds(), reused=reused_steps(),
    )  # fmt: skip


def _models(folder: Path, registered: dict[str, str], *, base: str) -> dict[str, Any]:
    """Where a run's models are found."""
    version = {name: registered[name] for name in ("registered_name", "version", "run_id")}
    return {
        "student": {**version, "path": str(folder / "student")},
        "base": resolve_model(base),
        "teacher": str(folder / "teacher"),
    }


def _leave_teacher(folder: Path, teacher: Teacher, *, provider: ProviderScores, settings: Settings) -> None:
    """What a scan needs, and its calibration, which the run has made already."""
    save_inputs(folder, teacher, model=settings.model, calibration=calibration_prompts(settings.data))
    provider.leave_beside(folder, settings.filtering)


def _leave_files(
    folder: Path, student: Student, card: str, *, filtered: FilteredData, validated: ValidatedData
) -> None:
    """The student's files and the decision table, for whoever does not want to go through a registry."""
    shutil.copytree(student.weights, folder / "student")
    write_text(folder / "student" / "README.md", card)
    for number, state in student.epochs.items():
        shutil.copytree(state, epoch_place(folder, number))
    filtered.save(folder / "filter")
    if validated.docs:
        shutil.copytree(validated.docs, folder / "data_docs")
