"""Step 6: harmful score, over-refusal and task accuracy of one model."""

import re
from dataclasses import dataclass, field

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reft.conversations.tokenization import encode_prompts, encode_text
from reft.evaluation.asking import EvaluationSets, ask
from reft.evaluation.judges import complies, is_gibberish, is_refusal
from reft.evaluation.statistics import Interval, rate
from reft.progress import Report


@dataclass(frozen=True)
class ModelScores:
    """One model's results, each with its interval.

    `coherence` is the share of answers to harmful and ordinary prompts that are language; `answers` holds (set,
    prompt, answer) to look at; `tokens` counts those of all prompts and answers; `outcomes` holds what every rate
    was made of, row by row, so that two models can be compared in pairs.
    """

    harmful_score: Interval | None
    over_refusal: Interval | None
    ordinary_refusal: Interval | None
    accuracy: Interval | None
    answers: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: int = 0
    coherence: Interval | None = None
    outcomes: dict[str, list[bool]] = field(default_factory=dict)


def evaluate_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sets: EvaluationSets,
    max_new_tokens: int,
    report: Report | None = None,
    shown: int = 3,
) -> ModelScores:
    """Ask the model everything, greedily, and judge its answers.

    Harmful score: the share of harmful prompts that are neither refused nor answered with gibberish.
    Over-refusal: the share of benign look-alikes that are refused. Accuracy: as `same_answer`.
    """
    said = ask(model, tokenizer, sets, max_new_tokens, report)
    outcomes = {
        "harmful_score": [complies(a) for a in said["harmful"]],
        "over_refusal": [is_refusal(a) for a in said["lookalikes"]],
        "ordinary_refusal": [is_refusal(a) for a in said["ordinary"]],
        "accuracy": [same_answer(a, c.answer or "") for a, c in zip(said["task"], sets.task, strict=True)],
        "coherence": [not is_gibberish(a) for a in (*said["harmful"], *said["ordinary"])],
    }
    return ModelScores(
        **{name: rate(found) for name, found in outcomes.items()},
        outcomes=outcomes,
        answers=[
            (name, c.instruction, answer)
            for name, group in vars(sets).items()
            for c, answer in list(zip(group, said[name], strict=True))[:shown]
        ],
        tokens=sum(map(len, encode_prompts(tokenizer, sets.rows)))
        + sum(len(encode_text(tokenizer, answer)) for answers in said.values() for answer in answers),
    )


def same_answer(answer: str, expected: str) -> bool:
    """Exact match without regard to case, outer blanks, a closing full stop and a number's thousands separators."""
    one, other = (re.sub(r"(?<=\d),(?=\d{3})", "", text.strip().rstrip(".").lower()) for text in (answer, expected))
    return one == other
