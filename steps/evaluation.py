"""Step evaluation: every measure of the student and of the model that was finetuned plainly."""

from typing import Annotated, Any

from zenml import step

from reft.config import DataSettings, EvaluationSettings, ModelSettings
from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.evaluate import scores_of
from reft.evaluation.golden import answered, side_by_side
from reft.evaluation.language import LanguageModel
from reft.evaluation.measures import Answers
from reft.evaluation.questions import ask, evaluation_sets
from reft.finetuning.artifact import Student
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer, load_trained
from reft.runtime.progress import progress
from reft.tracking.logging import log_scores
from steps.materializer import FolderMaterializer
from steps.metadata import measured_step

ORDER = ("student", "sft", "base", "aligned")


@step(experiment_tracker=True, output_materializers={"evaluation": FolderMaterializer})
def evaluation(
    student: Student,
    baselines: EvaluationReport,
    model: ModelSettings,
    *,
    data: DataSettings,
    settings: EvaluationSettings,
    key: dict[str, Any],
    sft: Student | None = None,
) -> Annotated[EvaluationReport, "evaluation"]:
    """What the job has trained, on the rows that the baselines were asked, and on the task's.

    The base model, loaded last, reads everybody's answers: no two models are held at once.
    """
    base, dtype, trust = resolve_model(model.name), choose_hardware(model.dtype).dtype, model.trust_remote_code
    sets = evaluation_sets(data, settings)
    tokenizer = load_tokenizer(base, model.chat_template, trust)
    asked: dict[str, Answers] = {}
    golden, before, after = sets.task[: settings.golden_rows], None, None
    with measured_step("evaluation") as cost:
        for name, result in (("student", student), ("sft", sft)):
            if result is not None:
                trained = load_trained(base, result.weights, result.is_adapter, dtype=dtype, trust_remote_code=trust)
                shown = progress(f"evaluating {name}")
                asked[name] = ask(trained, tokenizer, sets, max_new_tokens=settings.max_new_tokens, report=shown)
                if golden and name == "student":
                    after = answered(trained, tokenizer, golden, max_new_tokens=settings.golden_tokens)
                del trained
        untouched = load_model(base, dtype, trust_remote_code=trust)
        if golden:
            before = answered(untouched, tokenizer, golden, max_new_tokens=settings.golden_tokens)
        reader = LanguageModel(untouched, tokenizer)
        scores = {name: scores_of(found, sets, tokenizer, is_language=reader) for name, found in asked.items()}
        cost.tokens = sum(result.tokens for result in (*scores.values(), before, after) if result)
    every = scores | baselines.models
    models = {name: every[name] for name in ORDER if name in every}
    for name, found in models.items():
        log_scores(f"evaluation/{name}", found)
    kept = side_by_side(golden, before, after) if before and after else []
    return EvaluationReport(models, sets.digest(settings.max_new_tokens), kept)
