"""Scoring a row: its user turns in their context, its system turn, and its answers.

Every part is read at the refusal feature's own position: the conversation is cut off after each
user turn and scored as a prompt; a system turn or an answer is scored as if a user had asked for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reft.conversations.schema import Conversation, from_prompt
from reft.conversations.tokenization import Encoded, encode
from reft.progress import Report
from reft.refusal.feature import RefusalFeature
from reft.refusal.features import collect_features


@dataclass(frozen=True)
class Part:
    """A scored part of a row; `where` names it ("user[0]", "system", "answer[1]")."""

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
    report: Report | None = None,
) -> list[RowScore]:
    """Scores in [-1, 1] of every part of every row, in the order given; only the first layers run."""
    parts: list[tuple[str, Encoded]] = []
    counts = []
    for conversation in conversations:
        found = _parts(tokenizer, conversation)
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


def _parts(tokenizer: PreTrainedTokenizerBase, conversation: Conversation) -> list[tuple[str, Encoded]]:
    """The row's parts, each as a prompt; an answer too short to ask for anything is left out."""
    found = []
    for index, message in enumerate(conversation.messages):
        if message.role == "user":
            prompt = Conversation(conversation.row, conversation.messages[: index + 1])
            found.append((f"user[{index}]", encode(tokenizer, prompt)))
        elif message.role == "system" or len(message.content.split()) >= MIN_ANSWER_WORDS:
            where = "system" if message.role == "system" else f"answer[{index}]"
            found.append((where, encode(tokenizer, from_prompt(message.content, conversation.row))))
    return found


# A label ("refund", "lost card") says nothing on its own; whether it is harmful depends on its prompt.
MIN_ANSWER_WORDS = 5
