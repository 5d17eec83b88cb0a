"""Scoring a row: each of its parts at the refusal feature's own layer and position, or however else it is read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reft.config import FilterSettings
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import Encoded
from reft.filtering.parts import row_parts
from reft.progress import Report
from reft.refusal.feature import RefusalFeature
from reft.refusal.features import collect_features


@dataclass(frozen=True)
class Part:
    """A scored part of a row; `where` names it (see `row_parts`)."""

    where: str
    score: float


@dataclass(frozen=True)
class RowScore:
    """All parts of one row; `row` is its number in the uploaded file."""

    row: int
    parts: tuple[Part, ...]

    @property
    def deciding(self) -> Part:
        """The part with the highest score."""
        return max(self.parts, key=lambda part: part.score)


def score_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    feature: RefusalFeature,
    settings: FilterSettings,
    report: Report | None = None,
) -> list[RowScore]:
    """Scores in [-1, 1] of every part of every row, in the order given; only the first layers run."""

    def read(prompts: Sequence[Encoded]) -> list[float]:
        features = collect_features(model, tokenizer, prompts, [feature.layer], [feature.position], report=report)
        return feature.score(features[:, 0, 0]).tolist()

    return score_parts(tokenizer, conversations, settings, read)


def score_parts(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    settings: FilterSettings,
    read: Callable[[Sequence[Encoded]], list[float]],
    in_context: bool = True,
) -> list[RowScore]:
    """Every part of every row as `read` scores it, in the order given.

    Args:
        read: scores of prompts that wait for an answer.
        in_context: also score user turns after what came before them.
    """
    parts: list[tuple[str, Encoded]] = []
    counts = []
    for conversation in conversations:
        found = row_parts(tokenizer, conversation, settings, in_context)
        counts.append(len(found))
        parts += found
    scores = read([encoded for _, encoded in parts]) if parts else []
    scored = iter(Part(where, score) for (where, _), score in zip(parts, scores, strict=True))
    return [
        RowScore(c.row, tuple(next(scored) for _ in range(count)))
        for c, count in zip(conversations, counts, strict=True)
    ]
