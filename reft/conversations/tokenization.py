"""Turning a conversation into tokens so that its text can never forge a template marker.

The template is rendered around stand-ins for the contents; the template's pieces are encoded with
their special tokens, the contents with every special token split into plain text. The same function
serves the filter, both trainings and the evaluation: what is scored is what is trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from reft.conversations.schema import Conversation
from reft.conversations.templates import render
from reft.errors import DataValidationError, ModelError, explain

# Stand-ins from a private-use plane: no tokenizer has them, no template tests for them, and they
# are only ever put where a content goes, never searched for in what a user wrote.
_OPEN, _CLOSE = "\U000f5a01", "\U000f5a02"


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A tokenised conversation.

    Attributes:
        input_ids: all tokens.
        turns: for each message, the half-open token range of its content.
        completion: the half-open range of the last answer and its end-of-turn token. Empty (both the length) for a
            prompt that waits for an answer.
        instruction_end: index of the last token of the last user turn.
        prompt_end: index of the last token before the answer, after the template's markers.
        learnt: the half-open ranges that are trained on: each answer whose message says so, with its end-of-turn
            token, in order.
    """

    input_ids: tuple[int, ...]
    turns: tuple[tuple[int, int], ...]
    completion: tuple[int, int]
    instruction_end: int
    prompt_end: int
    learnt: tuple[tuple[int, int], ...] = ()

    @property
    def learnt_tokens(self) -> int:
        """How many tokens carry a loss."""
        return sum(end - start for start, end in self.learnt)

    def __len__(self) -> int:
        return len(self.input_ids)


def encode(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, max_length: int | None = None) -> Encoded:
    """Tokenise a conversation, with the answer if it has one, else up to where the answer begins.

    Raises:
        DataValidationError: longer than `max_length` tokens, or without a user turn. Nothing is
            ever cut short silently.
        ModelError: the chat template refuses the roles, or drops a message.
    """
    messages = conversation.messages
    answered = messages[-1].role == "assistant"
    pieces = _template_pieces(tokenizer, tuple(m.role for m in messages), not answered)
    ids: list[int] = list(pieces[0])
    turns: list[tuple[int, int]] = []
    for message, after in zip(messages, pieces[1:], strict=True):
        start = len(ids)
        ids += encode_text(tokenizer, message.content)
        turns.append((start, len(ids)))
        ids += after
    if max_length is not None and len(ids) > max_length:
        raise DataValidationError(
            explain(
                f"{len(ids)} tokens, more than the limit of {max_length}",
                f"row {conversation.row}",
                "shorten the row or raise the length limit",
            )
        )
    user_turns = [span for span, m in zip(turns, messages, strict=True) if m.role == "user"]
    if not user_turns:
        raise DataValidationError(explain("no user turn", f"row {conversation.row}", "add a user message"))
    spans = [
        (start, end + _end_of_turn_length(tokenizer, after)) if message.role == "assistant" else None
        for message, (start, end), after in zip(messages, turns, pieces[1:], strict=True)
    ]
    learnt = tuple(span for span, message in zip(spans, messages, strict=True) if span and message.learn)
    completion = spans[-1] or (len(ids), len(ids))
    prompt_end = completion[0] - 1
    return Encoded(
        input_ids=tuple(ids),
        turns=tuple(turns),
        completion=completion,
        instruction_end=max(user_turns[-1][1] - 1, 0),
        prompt_end=prompt_end,
        learnt=learnt,
    )


def encode_all(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], max_length: int | None = None
) -> list[Encoded]:
    """`encode` for each conversation, in order."""
    return [encode(tokenizer, conversation, max_length) for conversation in conversations]


def encode_prompts(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]) -> list[Encoded]:
    """Tokenise each conversation's prompt alone, up to where the answer begins."""
    return [encode(tokenizer, Conversation(row=c.row, messages=c.prompt)) for c in conversations]


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of untrusted text: the names of special tokens in it stay ordinary text."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def special_tokens_in(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    """The tokenizer's special tokens that the text spells out, in the tokenizer's order."""
    return [token for token in tokenizer.all_special_tokens if token in text]


def _template_pieces(
    tokenizer: PreTrainedTokenizerBase, roles: tuple[str, ...], generation_prompt: bool
) -> tuple[tuple[int, ...], ...]:
    return _cached_pieces(tokenizer, str(tokenizer.chat_template), roles, generation_prompt=generation_prompt)


@lru_cache(maxsize=4096)
def _cached_pieces(
    tokenizer: PreTrainedTokenizerBase, _template: str, roles: tuple[str, ...], *, generation_prompt: bool
) -> tuple[tuple[int, ...], ...]:
    """The template's own tokens before, between and after the contents of these roles."""
    stand_ins = [f"{_OPEN}{index}{_CLOSE}" for index in range(len(roles))]
    messages = [{"role": role, "content": mark} for role, mark in zip(roles, stand_ins, strict=True)]
    rest = render(tokenizer, messages, generation_prompt)
    texts = []
    for index, mark in enumerate(stand_ins):
        before, found, rest = rest.partition(mark)
        if not found:
            raise ModelError(
                explain(
                    f"the chat template drops or reorders message {index} ({roles[index]})",
                    str(tokenizer.name_or_path),
                    "set model.chat_template: chatml, or name a template that shows every message",
                )
            )
        texts.append(before)
    texts.append(rest)
    return tuple(tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else () for text in texts)


def _end_of_turn_length(tokenizer: PreTrainedTokenizerBase, after: Sequence[int]) -> int:
    """How many of the template's tokens after an answer the model must learn to write itself."""
    special = set(tokenizer.all_special_ids)
    for index, token in enumerate(after):
        if token in special:
            return index + 1
    return len(after)
