"""What a change of the finetuning's settings does, measured on the development sets.

    .venv/bin/python -m benchmarks.student                                  # the default profile
    .venv/bin/python -m benchmarks.student finetuning.batch_size=2 finetuning.learning_rate=0.001

Takes the filtered rows and the soft labels of the last run (`make run` first), trains one student (minutes on two
cores) and appends a line to `results/student.jsonl`: its settings that differ and rates with intervals. The task rows
are those of the task's test file that the default profile does not evaluate on.
"""

from typing import Any

from zenml.client import Client

from benchmarks.development import rates, record
from reft.config import Settings
from reft.conversations.reading import read_conversations
from reft.filtering.artifact import FilteredData
from reft.finetuning.student import Alignment, fit_student, starts_as, student_job
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_tokenizer, load_trained
from reft.runtime.cost import measured
from reft.soft_labels.labels import SoftLabels
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import alignment_rows


def last_run(rows: int) -> tuple[FilteredData, SoftLabels, Teacher]:
    """What the newest run with soft labels for this many alignment rows left."""
    for run in Client().list_pipeline_runs(pipeline="reft_pipeline", status="completed", sort_by="desc:created"):
        soft_labels: SoftLabels = run.steps["soft_labels"].outputs["soft_labels"][0].load()
        if len(soft_labels.rows) == rows:
            teacher = run.steps["teacher"].outputs["teacher"][0].load()
            return run.steps["filtering"].outputs["filtered"][0].load(), soft_labels, teacher
    raise SystemExit(f"no run has soft labels for {rows} alignment rows: make run first, with the same data settings")


def measure(settings: Settings) -> dict[str, Any]:
    """Finetune one student with what the last run's teacher left, and measure it."""
    harmful, harmless = alignment_rows(settings.data)
    filtered, soft_labels, teacher = last_run(len(harmful) + len(harmless))
    alignment = Alignment(harmful=harmful, harmless=harmless, teacher=soft_labels)
    counted = settings.finetuning.counted(len(filtered.decisions))
    with measured("finetuning") as cost:
        job = student_job(
            filtered.kept, settings.model, counted, seed=settings.seed, alignment=alignment,
            start=starts_as(teacher, settings.model, settings.finetuning),
        )  # fmt: skip
        student, cost.tokens = fit_student("student", job)
    base, trust = resolve_model(settings.model.name), settings.model.trust_remote_code
    dtype = choose_hardware(settings.model.dtype).dtype
    model = load_trained(base, student.weights, student.is_adapter, dtype=dtype, trust_remote_code=trust)
    tokenizer = load_tokenizer(base, settings.model.chat_template, trust)
    task = (
        read_conversations(settings.data.task_test)[settings.evaluation.task_rows :] if settings.data.task_test else []
    )
    return {**cost.as_dict(), "losses": student.history[-1], **rates(model, tokenizer, settings, task=task)}


def main() -> None:
    record("student", "finetuning", __doc__, measure=measure)


if __name__ == "__main__":
    main()
