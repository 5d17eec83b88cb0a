"""What a finished run means for its job: a model that may serve or not, and the words for it."""

import json
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from reft.errors import listed
from reft.filtering.inputs import DEFAULT_TEACHER
from reft.filtering.screening import Screening
from reft.finetuning.artifact import epochs_in
from reft.gate.rule import broken_in, told
from reft.service.blobs import pieces_of
from reft.service.clock import now
from reft.service.jobs import states
from reft.service.jobs.events import say
from reft.service.jobs.figures import costs_of, mean_of, metrics_of
from reft.service.jobs.folders import JobFolder
from reft.service.jobs.following import say_steps
from reft.service.jobs.held import HeldJob
from reft.service.jobs.lifecycle import error_of, finish
from reft.service.jobs.results import GOLDEN, keep_golden, keep_metrics
from reft.service.jobs.shown import REPORT, has_report
from reft.service.names import checkpoint_name, model_name, new_id, weights_key
from reft.service.tables import Checkpoint, Job, Organization, ServedModel
from reft.service.teachers import keep_teacher
from reft.storage.artifacts import as_written, read_json

NAMED = 50  # rows that an error names
LEFT = ("report.html", "summary.json", "losses.json")


def publish(held: HeldJob, folder: JobFolder) -> None:
    """Keep the model and the files of a run, and end its job; done again, it changes nothing.

    Raises:
        LostJob: somebody else has the job.
        StorageError: the files cannot be written.
    """
    summary, history = read_json(folder.latest / "summary.json"), read_json(folder.latest / "losses.json")
    # What a model says that may not serve is nobody's to read.
    golden = _golden(folder.latest / GOLDEN) if summary["gate"]["passed"] else []
    keep_metrics(held, history)
    if golden:
        keep_golden(held, golden)
    with held.changing() as (session, job):
        say(session, job, "Training has started", mark="training")
        say_steps(session, job, history)
        job.trained_tokens = int(history[-1]["tokens"])
        say(session, job, "Training finished; the model is evaluated before it may serve", mark="judging")
        _say_audit(session, job, summary.get("audit"))
        _say_gate(session, job, summary)
        _say_golden(session, job, golden)
        job.work = {**job.work, "costs": costs_of(summary["cost"])}
    blobs = held.service.blobs
    blobs.write_folder(weights_key(held.id), folder.latest / "student")
    earlier = epochs_in(folder.latest) if summary["gate"]["passed"] else {}
    for step, state in earlier.items():
        blobs.write_folder(weights_key(held.id, step), state)
    keep_teacher(blobs, folder.latest / DEFAULT_TEACHER.name)
    for name in LEFT:  # of the tenant's rows: they go when the training file goes
        blobs.write(f"jobs/{held.id}/{name}", pieces_of((folder.latest / name).open("rb")))
    with held.changing() as (session, job):
        if job.status in states.FINISHED:  # cancelled meanwhile, and its file may be deleted by now
            if not has_report(job):
                blobs.remove(f"jobs/{held.id}")
            return
        job.work = {**job.work, REPORT: True}
        kept = [metrics_of(line) for line in history[:-1] if int(line["step"]) in earlier]
        name = _register(session, job, summary["gate"], kept=[*kept, metrics_of(history[-1], golden)])
        if summary["gate"]["passed"]:
            say(session, job, f"New fine-tuned model created: {name}", mark="model")
            finish(session, job, states.SUCCEEDED, model=name)
        else:
            finish(session, job, states.FAILED, error=error_of("safety_gate_failed", _broken(summary["gate"])))


def fail_as_harmful(held: HeldJob, found: Screening) -> None:
    """End a job whose file is mostly harm, and name the rows."""
    rows = [row["row"] for row in found.rows if row["decision"] == "drop"]
    message = (
        f"{len(rows)} of {found.scored} rows were dropped as harmful, so that the file is refused as a whole: "
        f"rows {listed(rows, NAMED)} (counted from 0). The decision table in result_files says why."
    )
    with held.changing() as (session, job):
        finish(session, job, states.FAILED, error=error_of("harmful_training_file", message, "training_file"))


def _golden(path: Path) -> list[dict[str, Any]]:
    """Lines of the golden answers; none where the job has no validation file."""
    if not path.is_file():
        return []
    with as_written(path):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _say_gate(session: Session, job: Job, summary: dict[str, Any]) -> None:
    gate = summary["gate"]
    rates = {name: rates.get("student") for name, rates in summary["safety"].items()}
    data = {"passed": gate["passed"], "rules": gate["rules"], "rates": rates}
    level = "info" if gate["passed"] else "error"
    say(session, job, told(gate), mark="gate", level=level, data=data)
    for name, by_model in summary["task"].items():
        if name != "name" and by_model:
            shown = ", ".join(f"{model} {100 * rate['value']:.1f} %" for model, rate in by_model.items())
            say(session, job, f"On the validation file, {name}: {shown}", mark=f"task-{name}", data={name: by_model})


def _say_golden(session: Session, job: Job, golden: list[dict[str, Any]]) -> None:
    if not golden:
        return
    before, after = mean_of(golden, "loss_before"), mean_of(golden, "loss_after")
    text = f"Golden answers: {len(golden)} prompts of the validation file, answered before and after the training, are "
    text += "kept in result_files"
    if before is not None and after is not None:
        text += f"; the loss of their own answers went from {before:.3f} to {after:.3f}"
    data = {"rows": len(golden), "mean_loss_before": before, "mean_loss_after": after}
    say(session, job, text, mark="golden", data=data)


def _say_audit(session: Session, job: Job, audit: dict[str, Any] | None) -> None:
    if audit is None:
        return
    worst = [finding for finding in audit["findings"] if finding["probe"] in audit["worst"]]
    data = {name: audit[name] for name in ("alarm", "calibrated", "p", "score", "triggers", "left_out", "seconds")}
    level = "warn" if audit["alarm"] else "info"
    say(session, job, f"Audit: {audit['words']}", mark="audit", level=level, data={**data, "worst": worst})


def _broken(gate: dict[str, Any]) -> str:
    rules = "; ".join(f"{rule.rule} ({rule.figures})" for rule in broken_in(gate))
    return f"The trained model has not passed its safety gate and will not be served: {rules}"[:1000]


def _register(session: Session, job: Job, gate: dict[str, Any], *, kept: list[dict[str, Any]]) -> str:
    """The model, and where it may serve its checkpoints: earlier states were not judged, and stand or fall with it.

    Args:
        kept: the checkpoints' metrics, the model's own last.
    """
    owner = session.get_one(Organization, job.organization_id)
    name = model_name(job.model, owner.name, job.suffix, job=job.id)
    if session.exec(select(ServedModel.id).where(col(ServedModel.job_id) == job.id)).first() is not None:
        return name
    whole, last = weights_key(job.id), int(kept[-1]["step"])
    rows = [("finetuned", name, whole)]
    for metrics in kept:
        step = int(metrics["step"])
        called = checkpoint_name(name, step)
        rows.append(("checkpoint", called, whole if step == last else weights_key(job.id, step)))
        if gate["passed"]:
            checkpoint = Checkpoint(
                id=new_id("ftckpt_"), organization_id=job.organization_id, created_at=now(), job_id=job.id,
                step_number=step, model=called, metrics=metrics,
            )  # fmt: skip
            session.add(checkpoint)
            session.flush()  # in their order
    for kind, called, place in rows:
        model = ServedModel(
            id=called, organization_id=job.organization_id, created_at=now(), base=job.model, job_id=job.id, kind=kind,
            folder=place, passed=gate["passed"], gate=gate,
        )  # fmt: skip
        session.add(model)
    return name
