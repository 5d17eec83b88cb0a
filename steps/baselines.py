"""Step baselines: the base and the safety-aligned model on the evaluation's questions, once for all customers."""

from typing import Annotated, Any

from zenml import step

from reft.config import DataSettings, EvaluationSettings, ModelSettings
from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.evaluate import scores_of
from reft.evaluation.language import LanguageModel
from reft.evaluation.measures import Answers
from reft.evaluation.questions import ask, evaluation_sets
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer
from reft.runtime.progress import progress
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import load_teacher
from steps.materializer import FolderMaterializer
from steps.metadata import measured_step


@step(output_materializers={"baselines": FolderMaterializer})
def baselines(
    teacher: Teacher, model: ModelSettings, *, data: DataSettings, settings: EvaluationSettings, key: dict[str, Any]
) -> Annotated[EvaluationReport, "baselines"]:
    """The models that no customer's job changes; they were not taught a task and are not asked about one.

    What they score is logged by the evaluation, in every run.
    """
    base, dtype, trust = resolve_model(model.name), choose_hardware(model.dtype).dtype, model.trust_remote_code
    sets = evaluation_sets(data, settings)
    tokenizer = load_tokenizer(base, model.chat_template, trust)
    asked: dict[str, Answers] = {}

    def answers(name: str, loaded, its_tokenizer) -> Answers:
        shown = progress(f"evaluating {name}")
        return ask(loaded, its_tokenizer, sets, max_new_tokens=settings.max_new_tokens, report=shown)

    with measured_step("baselines") as cost:
        if settings.aligned:
            aligned, its_tokenizer = load_teacher(teacher, model)
            asked["aligned"] = answers("aligned", aligned, its_tokenizer)
            del aligned  # before the base comes
        if settings.aligned or settings.base:
            untouched = load_model(base, dtype, trust_remote_code=trust)
            if settings.base:
                asked["base"] = answers("base", untouched, tokenizer)
            reader = LanguageModel(untouched, tokenizer)
        scores = {name: scores_of(found, sets, tokenizer, is_language=reader) for name, found in asked.items()}
        cost.tokens = sum(result.tokens for result in scores.values())
    return EvaluationReport(scores, sets.digest(settings.max_new_tokens))
