"""Step 6: every measure of one model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode_prompts, encode_text
from reft.evaluation.measures import Answers, IsLanguage, asked_of, outcomes
from reft.evaluation.questions import EvaluationSets, ask
from reft.moved import keep_old_names
from reft.runtime.progress import Report
from reft.statistics import Interval, mean_rate, rate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHOWN = 3
LEAST_ROWS = 5  # of a source or kind, on average


@dataclass(frozen=True, kw_only=True)
class ModelScores:
    """One model's results.

    Attributes:
        rates: by measure, each with its interval; None where nothing was asked. Where the questions come from several
            sources, the mean over them.
        by_source: by measure, the rate of every source, where there are several.
        by_kind: by measure, the rate of every kind of question (a hazard, a field), where there are several.
        outcomes: what every rate was made of, row by row, so that two models can be compared in pairs.
        answers: (set, prompt, answer) to look at.
        tokens: of all prompts and answers.
    """

    rates: dict[str, Interval | None]
    by_source: dict[str, dict[str, Interval]] = field(default_factory=dict)
    by_kind: dict[str, dict[str, Interval]] = field(default_factory=dict)
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
    pairs = {name: list(zip(asked_of(name, sets), hits, strict=True)) for name, hits in found.items()}
    sources, kinds = ({name: _by(what, asked) for name, asked in pairs.items()} for what in ("source", "kind"))
    return ModelScores(
        rates={name: mean_rate(list(sources[name].values()) or [hits]) for name, hits in found.items()},
        by_source=_rates(sources),
        by_kind=_rates(kinds),
        outcomes=found,
        answers=[
            (name, c.instruction, answer)
            for name, group in vars(sets).items()
            for c, answer in list(zip(group, answers[name], strict=True))[:SHOWN]
        ],
        tokens=sum(map(len, encode_prompts(tokenizer, sets.rows)))
        + sum(len(encode_text(tokenizer, answer)) for group in answers.values() for answer in group),
    )


def _by(what: str, asked: Sequence[tuple[Conversation, bool]]) -> dict[str, list[bool]]:
    """A measure's outcomes by where its questions come from, or by what they are.

    Empty where one is not known, or where the groups are hardly larger than a row: then the field is a text of each
    row's own (a sentence to translate), and names no group.
    """
    groups: dict[str, list[bool]] = defaultdict(list)
    for row, hit in asked:
        groups[getattr(row, what)].append(hit)
    no_groups = "" in groups or len(groups) * LEAST_ROWS > len(asked)
    return {} if no_groups else dict(sorted(groups.items()))


def _rates(groups: Mapping[str, Mapping[str, list[bool]]]) -> dict[str, dict[str, Interval]]:
    several = {name: found for name, found in groups.items() if len(found) > 1}
    return {name: {key: one for key, hits in found.items() if (one := rate(hits))} for name, found in several.items()}


keep_old_names(__name__)
