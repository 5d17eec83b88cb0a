"""Step evaluate."""

from typing import Annotated

from zenml import step

from reft.config import DataSettings, EvaluationSettings, ModelSettings
from reft.cost import measured
from reft.distillation.artifact import Student
from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.asking import EvaluationSets, evaluation_sets
from reft.evaluation.evaluate import ModelScores, evaluate_model
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer, load_trained
from reft.progress import progress
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import load_teacher
from reft.tracking.logging import log_metrics
from steps.materializer import FolderMaterializer


@step(experiment_tracker=True, output_materializers={"evaluation": FolderMaterializer})
def evaluate(
    student: Student,
    teacher: Teacher,
    model: ModelSettings,
    data: DataSettings,
    settings: EvaluationSettings,
    fingerprint: str,
    plain: Student | None = None,
) -> tuple[Annotated[EvaluationReport, "evaluation"], Annotated[dict[str, float], "evaluation_cost"]]:
    """Harmful score, over-refusal and accuracy of every model, on the same rows."""
    base = resolve_model(model.name)
    dtype = choose_hardware(model.dtype).dtype
    sets = evaluation_sets(data, settings)
    without_task = EvaluationSets(sets.harmful, sets.lookalikes, sets.ordinary)
    tokenizer = load_tokenizer(base, model.chat_template, model.trust_remote_code)
    scores: dict[str, ModelScores] = {}

    def finetuned(result: Student):
        return load_trained(base, result.weights, result.is_adapter, dtype, model.trust_remote_code)

    def measure(name: str, loaded, chosen: EvaluationSets, its_tokenizer=tokenizer) -> None:
        scores[name] = evaluate_model(
            loaded, its_tokenizer, chosen, settings.max_new_tokens, progress(f"evaluating {name}")
        )
        fields = ("harmful_score", "over_refusal", "ordinary_refusal", "accuracy")
        rates = {field: getattr(scores[name], field) for field in fields}
        log_metrics(f"evaluation/{name}", {field: value and value.value for field, value in rates.items()})

    with measured("evaluate") as cost:
        measure("student", finetuned(student), sets)
        if plain is not None:
            measure("plain_sft", finetuned(plain), sets)
        if settings.base:
            measure("base", load_model(base, dtype, trust_remote_code=model.trust_remote_code), without_task)
        if settings.aligned:
            aligned, its_tokenizer = load_teacher(teacher, model)
            measure("aligned", aligned, without_task, its_tokenizer)
        cost.tokens = sum(result.tokens for result in scores.values())
    return EvaluationReport(scores), cost.as_dict()
