"""Step evaluation: every measure of the student and of the models that it is compared with."""

from typing import Annotated, Any

from transformers import PreTrainedTokenizerBase
from zenml import step

from reft.config import DataSettings, EvaluationSettings, ModelSettings
from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.evaluate import ModelScores, scores_of
from reft.evaluation.language import LanguageModel
from reft.evaluation.measures import Answers
from reft.evaluation.questions import EvaluationSets, ask, evaluation_sets
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

# Of one model: its answers, what it was asked, its tokenizer.
Asked = tuple[Answers, EvaluationSets, PreTrainedTokenizerBase]
ORDER = ("student", "sft", "base", "aligned")


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
    """Every model on the same rows; those that were not taught the task are not asked about it.

    The base model, loaded last, reads everybody's answers: no two models are held at once.
    """
    base, dtype, trust = resolve_model(model.name), choose_hardware(model.dtype).dtype, model.trust_remote_code
    sets = evaluation_sets(data, settings)
    without_task = EvaluationSets(sets.harmful, sets.lookalikes, sets.ordinary)
    tokenizer = load_tokenizer(base, model.chat_template, trust)
    asked: dict[str, Asked] = {}

    def finetuned(result: Student):
        return load_trained(base, result.weights, result.is_adapter, dtype=dtype, trust_remote_code=trust)

    def answer(name: str, loaded, chosen: EvaluationSets, *, its_tokenizer=tokenizer) -> None:
        shown = progress(f"evaluating {name}")
        found = ask(loaded, its_tokenizer, chosen, max_new_tokens=settings.max_new_tokens, report=shown)
        asked[name] = (found, chosen, its_tokenizer)

    with measured_step("evaluation") as cost:
        answer("student", finetuned(student), sets)
        if sft is not None:
            answer("sft", finetuned(sft), sets)
        if settings.aligned:
            aligned, its_tokenizer = load_teacher(teacher, model)
            answer("aligned", aligned, without_task, its_tokenizer=its_tokenizer)
            del aligned  # before the base comes
        untouched = load_model(base, dtype, trust_remote_code=trust)
        if settings.base:
            answer("base", untouched, without_task)
        reader = LanguageModel(untouched, tokenizer)
        scores = {name: scores_of(*asked[name], is_language=reader) for name in ORDER if name in asked}
        cost.tokens = sum(result.tokens for result in scores.values())
    for name, found in scores.items():
        _log(f"evaluation/{name}", found)
    return EvaluationReport(scores, sets.digest(settings.max_new_tokens))


def _log(prefix: str, found: ModelScores) -> None:
    log_rates(prefix, found.rates)
    for measure, rates in found.by_source.items():
        log_rates(f"{prefix}/{measure}", rates)
