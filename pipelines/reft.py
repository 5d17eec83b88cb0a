"""The main pipeline: only wiring. Every step gets its own part of the settings, so that ZenML's cache
misses exactly what a change affects."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zenml.enums import ExecutionMode

from pipelines.profiled import profiled, require_runnable
from reft.config import ClusterSettings, DataSettings, Settings, parse_settings
from reft.finetuning.methods import require_for_pipeline
from reft.keys.closure import digest_of_code
from reft.keys.lineage import lineage
from reft.keys.stages import code_key, stage_keys, stages_of
from reft.report.summary import last_seconds
from reft.runtime.progress import expect_run
from reft.storage.fingerprint import remembered
from reft.tracking.evaluations import newest_evaluation
from reft.tracking.registry import champion_version
from steps.audit import audit
from steps.audit_reference import audit_reference
from steps.baselines import baselines
from steps.calibration import calibration
from steps.evaluation import evaluation
from steps.filtering import filtering
from steps.finetuning import finetuning
from steps.gate import gate
from steps.notify import on_failure
from steps.refusal_feature import refusal_feature
from steps.registration import registration
from steps.report import report
from steps.sft import sft
from steps.soft_labels import soft_labels
from steps.teacher import teacher
from steps.validation import validation

# What belongs to a customer: another customer's must not miss the teacher's cache.
CUSTOMERS = ("user", "columns", "split", "user_labels", "task", "task_test", "overrides")
# The sections that the filter's steps read.
FILTERS = ("model", "data", "filtering", "evaluation")
# The audit's own; of the evaluation whether the same was asked there already.
AUDITS = ("model", "data", "audit", "evaluation")
Keys = Mapping[str, dict[str, Any]]


def expect_stages(settings: Settings) -> None:
    """The stages that a run under these settings has take as long as the last run's did."""
    last = Path(settings.tracking.runs_folder) / "latest" / "summary.json"
    expect_run(last_seconds(last), stages_of(settings))


def keys_and_lineage(settings: Settings) -> tuple[Keys, dict[str, str]]:
    """What every stage and what the student is made from; both read the same model and rows, which are read once."""
    digest = remembered()
    keys = {stage: found.as_dict() for stage, found in stage_keys(settings, digest).items()}
    return keys, lineage(settings, digest)


def without_customer(data: DataSettings) -> DataSettings:
    """The provider's files alone."""
    return data.model_copy(update=dict.fromkeys(CUSTOMERS, ""))


def without_calibration(s: Settings) -> Settings:
    """Without the audit's: only the audit reads it, and one that is measured later must train nothing anew."""
    return s.model_copy(update={"data": s.data.model_copy(update={"audit_benign": None})})


def audit_of(s: Settings, student: Any, filtered: Any, *, held: Any, evaluation: Any, key: Keys) -> Any:
    """The step that audits the student."""
    read = s.model_copy(update={"data": without_customer(s.data)}).only(*AUDITS)
    return audit(
        student, filtered, read, reference=held, evaluation=evaluation, training=s.finetuning, key=key["audit"]
    )


def of_provider(s: Settings, key: Keys) -> tuple[Any, ...]:
    """The branch that knows nothing of a customer, and that all jobs share: all that is made of the provider's rows.

    Nothing is trained before the user's file has passed.
    """
    data = without_customer(s.data)
    feature = refusal_feature(s.model, data, s.refusal_feature, key=key["refusal_feature"], after="validation")
    trained = teacher(
        feature, s.model, data, settings=s.teacher, selection=s.refusal_feature, seed=s.seed, key=key["teacher"]
    )
    # Distilled from what the teacher predicted beforehand, or from the teacher itself.
    labels = None
    if s.finetuning.distillation == "stored":
        labels = soft_labels(trained, s.model, data, settings=s.soft_labels, key=key["soft_labels"])
    scored = calibration(trained, s.model_copy(update={"data": data}).only(*FILTERS), key=key["calibration"])
    known = baselines(trained, s.model, data=data, settings=s.evaluation, key=key["baselines"])
    held = None
    if s.audit.enabled:
        held = audit_reference(trained, s.model, data=data, settings=s.audit, key=key["audit_reference"])
    return trained, labels, scored, known, held


@profiled(name="reft_pipeline", execution_mode=ExecutionMode.FAIL_FAST, on_failure=on_failure)
def reft(settings: dict[str, Any] | None = None) -> None:
    """User data in, a safe student in the registry out."""
    given = parse_settings(settings)
    require_for_pipeline(given.finetuning)
    require_runnable(given)
    key, made_from = keys_and_lineage(given)
    s = without_calibration(given)
    expect_stages(s)
    read = {"columns": s.data.columns, "split": s.data.split, "held_out": s.data.task_test}
    validated = validation(s.data.user, s.model, s.validation, read=read, key=key["validation"])
    trained, labels, scored, known, held = of_provider(s, key)
    filtered = filtering(
        validated, trained, s.only(*FILTERS), provider=scored, key=key["filtering"],
        leave=s.tracking.screening_folder or "",
    )  # fmt: skip
    if s.until == "filtering":
        return
    # What a training on this machine does not read must not miss its cache.
    cluster = s.cluster if s.finetuning.launcher == "trainjob" else ClusterSettings()
    student = finetuning(
        filtered, s.model, without_customer(s.data), settings=s.finetuning, cluster=cluster, temperature=s.soft_labels.temperature,
        seed=s.seed if s.finetuning.seed is None else s.finetuning.seed, key=key["finetuning"], teacher=trained, soft_labels=labels,
    )  # fmt: skip
    plain = None
    if s.evaluation.sft:
        plain = sft(validated, s.model, s.finetuning, cluster=cluster, seed=s.seed, key=key["sft"])
    scores = evaluation(student, known, s.model, data=s.data, settings=s.evaluation, key=key["evaluation"], sft=plain)
    audited = audit_of(given, student, filtered, held=held, evaluation=scores, key=key) if s.audit.enabled else None
    # The champion is a parameter, so that a new one, or one that was judged anew, is judged against anew.
    name = s.tracking.registered_name
    champion = champion_version(name)
    verdict = gate(
        scores, filtered, s.gate, name=name, champion=champion, judged_anew=newest_evaluation(name, champion),
        code=code_key("evaluation"), own_code=digest_of_code("steps.gate"), audit=audited,
    )  # fmt: skip
    registered = registration(
        student, scores, filtered, verdict=verdict, name=name, base=s.model.name, task=s.data.task,
        max_length=s.model.max_length, settings=s.finetuning, lineage=made_from,
    )  # fmt: skip
    report(
        validated, trained, filtered, provider=scored, student=student, evaluation=scores, registered=registered,
        verdict=verdict, lineage=made_from, settings=given, sft=plain, audit=audited,
    )  # fmt: skip
