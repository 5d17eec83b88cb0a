"""Step evaluation: every measure of the student and of the models that it is compared with."""

from typing import Annotated, Any

from zenml import step

from reft.config import DataSettings, EvaluationSettings, ModelSettings
from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.evaluate import ModelScores, evaluate_model
from reft.evaluation.questions import EvaluationSets, evaluation_sets
from reft.finetuning.artifact import Student
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer, load_trained
from reft.runtime.progress import progress
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import load_teacher
from reft.tracking.logging import log_rates
from steps.materializer import FolderMaterializer
from steps.metadata import measured_step


@step(experiment_tracker=True, output_materializers={"evaluation": FolderMaterializer})
def evaluation(
    student: Student,
    teacher: Teacher,
    model: ModelSettings,
    *,
    data: DataSettings,
    settings: EvaluationSettings,
    key: dict[str, Any],
    sft: Student | None = None,
) -> Annotated[EvaluationReport, "evaluation"]:
    """Every model on the same rows; those that were not taught the task are not asked about it."""
    base, dtype = resolve_model(model.name), choose_hardware(model.dtype).dtype
    sets = evaluation_sets(data, settings)
    without_task = EvaluationSets(sets.harmful, sets.lookalikes, sets.ordinary)
    tokenizer = load_tokenizer(base, model.chat_template, model.trust_remote_code)
    scores: dict[str, ModelScores] = {}

    def finetuned(result: Student):
        return load_trained(
            base, result.weights, result.is_adapter, dtype=dtype, trust_remote_code=model.trust_remote_code
        )

    def measure(name: str, loaded, chosen: EvaluationSets, *, its_tokenizer=tokenizer) -> None:
        scores[name] = evaluate_model(
            loaded, its_tokenizer, chosen, max_new_tokens=settings.max_new_tokens, report=progress(f"evaluating {name}")
        )
        log_rates(f"evaluation/{name}", scores[name].rates)

    with measured_step("evaluation") as cost:
        measure("student", finetuned(student), sets)
        if sft is not None:
            measure("sft", finetuned(sft), sets)
        if settings.base:
            measure("base", load_model(base, dtype, trust_remote_code=model.trust_remote_code), without_task)
        if settings.aligned:
            aligned, its_tokenizer = load_teacher(teacher, model)
            measure("aligned", aligned, without_task, its_tokenizer=its_tokenizer)
        cost.tokens = sum(result.tokens for result in scores.values())
    return EvaluationReport(scores, sets.digest(settings.max_new_tokens))
