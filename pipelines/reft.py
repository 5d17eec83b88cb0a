"""The main pipeline: only wiring. Every step gets its own part of the settings, so that ZenML's cache
misses exactly what a change affects."""

from pathlib import Path
from typing import Any

from zenml import pipeline
from zenml.enums import ExecutionMode

from reft.config import ClusterSettings, Settings, parse_settings
from reft.files import fingerprint
from reft.fingerprint import of_code, of_path
from reft.lineage import lineage
from reft.models.default_model import resolve_model
from reft.progress import expect_run
from reft.report.summary import last_seconds
from reft.tracking.registry import champion_version
from steps.data import validate_data
from steps.evaluate import evaluate
from steps.filtering import filter_data
from steps.finetune import finetune, finetune_plain
from steps.notify import tell_failure
from steps.publish import gate, register, report
from steps.teacher import distill_soft_labels, extract_refusal_feature, train_teacher

GROUND = ("conversations", "models", "errors", "artifacts")


def fingerprints(settings: Settings) -> dict[str, str]:
    """For each step, a digest of the code, model and files that it depends on beside its settings."""
    data, base = settings.data, of_path(resolve_model(settings.model.name))
    start = of_path(resolve_model(settings.model.aligned or settings.model.name))
    alignment = [of_path(p) for p in (data.alignment_harmful, data.alignment_harmless)]
    calibration = [of_path(p) for p in (data.calibration_harmful, data.calibration_harmless)]
    evaluated = [data.evaluation_harmful, data.evaluation_lookalikes, data.evaluation_ordinary, data.task_test]
    return {
        "validate": ":".join(
            [fingerprint(data.user), of_path(data.task_test or "none"), base, of_code(*GROUND, "validation")]
        ),
        "extract": ":".join([start, *alignment, *calibration, of_code(*GROUND, "refusal")]),
        "teacher": ":".join([start, *alignment, *calibration, of_code(*GROUND, "refusal", "teacher")]),
        "soft_labels": ":".join([*alignment, of_code(*GROUND, "distillation")]),
        "filter": ":".join(
            [
                *calibration,
                *(of_path(p) for p in evaluated if p),
                of_path(data.user_labels) if data.user_labels else "none",
                of_code(*GROUND, "refusal", "filtering", "evaluation"),
            ]
        ),
        "finetune": ":".join([base, *alignment, of_code(*GROUND, "distillation")]),
        "evaluate": ":".join([base, *(of_path(p) for p in evaluated if p), of_code(*GROUND, "evaluation")]),
    }


@pipeline(name="reft_pipeline", execution_mode=ExecutionMode.FAIL_FAST, on_failure=tell_failure)
def reft(settings: dict[str, Any] | None = None) -> None:
    """User data in, a safe student in the registry out."""
    s = parse_settings(settings)
    made_of = fingerprints(s)
    expect_run(last_seconds(Path(s.tracking.runs_folder) / "latest" / "summary.json"))
    # Only what a step reads: another customer's file must not miss the teacher's cache.
    provider = s.data.model_copy(update=dict.fromkeys(("user", "columns", "user_labels", "task", "task_test"), ""))
    validated, validation_cost = validate_data(
        s.data.user, s.data.columns, s.data.task_test, s.model, s.validation, made_of["validate"]
    )
    # Nothing is trained before the user's file has passed.
    feature, extraction_cost = extract_refusal_feature(
        s.model, provider, s.feature, made_of["extract"], after="validate_data"
    )
    teacher, teacher_cost = train_teacher(feature, s.model, provider, s.teacher, s.feature, s.seed, made_of["teacher"])
    filtered, filter_cost = filter_data(validated, teacher, s.model, s.data, s.filter, s.evaluation, made_of["filter"])
    # Distilled from what the teacher said beforehand, or from the teacher itself.
    said, soft_labels_cost, beside = None, None, None
    if s.finetune.distillation == "stored":
        said, soft_labels_cost = distill_soft_labels(teacher, s.model, provider, s.soft_labels, made_of["soft_labels"])
    else:
        beside = teacher
    # What a training on this machine does not read must not miss its cache.
    cluster = s.cluster if s.finetune.launcher == "trainjob" else ClusterSettings()
    student, finetune_cost = finetune(
        filtered, s.model, provider, s.finetune, s.soft_labels.temperature, s.seed, made_of["finetune"], said, beside,
        cluster,
    )  # fmt: skip
    plain, plain_cost = None, None
    if s.evaluation.plain_sft:
        plain, plain_cost = finetune_plain(validated, s.model, s.finetune, s.seed, made_of["finetune"], cluster)
    evaluation, evaluation_cost = evaluate(student, teacher, s.model, s.data, s.evaluation, made_of["evaluate"], plain)
    name = s.tracking.registered_name
    # The champion is a parameter, so that a new one is judged against anew.
    verdict = gate(evaluation, filtered, s.gate, name, champion_version(name), made_of["evaluate"])
    registered = register(
        student, evaluation, filtered, verdict, name, s.model.name, s.data.task, s.finetune, lineage(s)
    )
    report(
        validated, teacher, filtered, student, evaluation, registered, s,
        validation_cost, extraction_cost, teacher_cost, filter_cost, finetune_cost, evaluation_cost,
        soft_labels_cost, plain_cost, plain,
    )  # fmt: skip
