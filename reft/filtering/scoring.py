"""Scoring a row: each of its parts at the refusal feature's own layer and position."""

from collections.abc import Sequence
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
    parts: list[tuple[str, Encoded]] = []
    counts = []
    for conversation in conversations:
        found = row_parts(tokenizer, conversation, settings)
        counts.append(len(found))
        parts += found
    features = collect_features(
        model, tokenizer, [e for _, e in parts], [feature.layer], [feature.position], report=report
    )
    scored = iter(
        Part(where, score) for (where, _), score in zip(parts, feature.score(features[:, 0, 0]).tolist(), strict=True)
    )
    return [
        RowScore(c.row, tuple(next(scored) for _ in range(count)))
        for c, count in zip(conversations, counts, strict=True)
    ]
