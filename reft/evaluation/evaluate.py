"""Step 6: every measure of one model."""

from dataclasses import dataclass, field

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reft.conversations.tokenization import encode_prompts, encode_text
from reft.evaluation.measures import Answers, IsLanguage, outcomes
from reft.evaluation.questions import EvaluationSets, ask
from reft.moved import keep_old_names
from reft.runtime.progress import Report
from reft.statistics import Interval, rate

SHOWN = 3


@dataclass(frozen=True)
class ModelScores:
    """One model's results.

    Attributes:
        rates: by measure, each with its interval; None where nothing was asked.
        outcomes: what every rate was made of, row by row, so that two models can be compared in pairs.
        answers: (set, prompt, answer) to look at.
        tokens: of all prompts and answers.
    """

    rates: dict[str, Interval | None]
    outcomes: dict[str, list[bool]] = field(default_factory=dict)
    answers: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: int = 0


def evaluate_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sets: EvaluationSets,
    *,
    max_new_tokens: int,
    report: Report | None = None,
    is_language: IsLanguage | None = None,
) -> ModelScores:
    """Ask the model everything, greedily, and count every measure of `reft.evaluation.measures`.

    Args:
        is_language: as `outcomes` takes it.
    """
    answers = ask(model, tokenizer, sets, max_new_tokens=max_new_tokens, report=report)
    return scores_of(answers, sets, tokenizer, is_language=is_language)


def scores_of(
    answers: Answers,
    sets: EvaluationSets,
    tokenizer: PreTrainedTokenizerBase,
    *,
    is_language: IsLanguage | None = None,
) -> ModelScores:
    """Every measure of answers that a model gave; a model that reads them need not be held beside it."""
    found = outcomes(sets, answers, is_language=is_language)
    return ModelScores(
        rates={name: rate(rows) for name, rows in found.items()},
        outcomes=found,
        answers=[
            (name, c.instruction, answer)
            for name, group in vars(sets).items()
            for c, answer in list(zip(group, answers[name], strict=True))[:SHOWN]
        ],
        tokens=sum(map(len, encode_prompts(tokenizer, sets.rows)))
        + sum(len(encode_text(tokenizer, answer)) for group in answers.values() for answer in group),
    )


keep_old_names(__name__)
