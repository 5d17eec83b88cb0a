"""Judging a registered version anew, on the rows that a profile names."""

from dataclasses import dataclass
from pathlib import Path

from reft.config import Settings
from reft.errors import PromotionError, explain
from reft.evaluation.evaluate import ModelScores, scores_of
from reft.evaluation.language import LanguageModel
from reft.evaluation.questions import ask, evaluation_sets
from reft.gate.gate import Champion
from reft.keys.stages import code_key
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer, load_trained
from reft.runtime.progress import progress
from reft.tracking.evaluations import record_evaluation
from reft.tracking.promotion import ALIASES
from reft.tracking.registry import files_of, version_at


@dataclass(frozen=True)
class Evaluated:
    """A registered version and its scores; `rows` is the digest of what it was asked."""

    name: str
    version: str
    rows: str
    scores: ModelScores


def evaluate_version(settings: Settings, version: str) -> Evaluated:
    """Ask a version everything that a run would ask its student, and keep the outcomes with it.

    Args:
        version: a number, or an alias.

    Raises:
        PromotionError: the alias points nowhere.
        ModelError: its base model is not there.
        RegistryError: the server does not answer, or does not allow it.
    """
    name = settings.tracking.registered_name
    number = version_at(name, version) if version in ALIASES else version
    if not number:
        raise PromotionError(explain(f"no version is the {version}", name, "name a number, or promote one first"))
    sets, asked = evaluation_sets(settings.data, settings.evaluation), settings.evaluation.max_new_tokens
    with files_of(name, number) as folder:
        scores = _scores(settings, folder, sets=sets)
    champion = Champion(outcomes=scores.outcomes, rows=sets.digest(asked), code=code_key("evaluation"))
    record_evaluation(name, number, champion)
    return Evaluated(name, number, champion.rows, scores)


def _scores(settings: Settings, folder: Path, *, sets) -> ModelScores:
    model, asked = settings.model, settings.evaluation.max_new_tokens
    is_adapter = (folder / "adapter_config.json").is_file()
    dtype, base, trust = choose_hardware(model.dtype).dtype, resolve_model(model.name), model.trust_remote_code
    loaded = load_trained(base, folder, is_adapter, dtype=dtype, trust_remote_code=trust)
    # As the pipeline's evaluation does: the base model's tokenizer and the profile's template.
    tokenizer = load_tokenizer(base, model.chat_template, trust)
    answers = ask(loaded, tokenizer, sets, max_new_tokens=asked, report=progress("evaluating"))
    del loaded  # the two need not fit into memory together
    reader = LanguageModel(load_model(base, dtype, trust_remote_code=trust), tokenizer)
    return scores_of(answers, sets, tokenizer, is_language=reader)
