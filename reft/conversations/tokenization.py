"""Turning a conversation into tokens so that its text can never forge a template marker.

The template's rendering of the whole dialogue is the truth, and it is tokenised as a whole. Only where a text spells
out a special token are the template's pieces encoded with their special tokens and the texts without. The same
function serves the filter, both trainings and the evaluation: what is scored is what is trained on.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from reft.conversations.rendering import Rendering, Span, rendered
from reft.conversations.schema import Conversation, Message
from reft.errors import DataValidationError, ModelError, ReftError, explain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A tokenised conversation.

    Attributes:
        input_ids: all tokens.
        turns: for each message, the half-open token range of what it says; an answer's begins where a model begins
            to write it, and holds what the template adds there (an empty block of thoughts, say).
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
    whole = rendered(tokenizer, messages, options=conversation.options)
    ids, turns = _tokens(tokenizer, whole)
    answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
    spans: dict[int, tuple[int, int]] = {}
    if answers:
        ids, spans = _answers(tokenizer, ids, turns, which=answers)
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
    completion = spans.get(len(messages) - 1, (len(ids), len(ids)))
    return Encoded(
        input_ids=tuple(ids),
        turns=tuple(turns),
        completion=completion,
        instruction_end=max(user_turns[-1][1] - 1, 0),
        prompt_end=completion[0] - 1,
        learnt=tuple(spans[index] for index in answers if messages[index].learn),
    )


def _tokens(tokenizer: PreTrainedTokenizerBase, whole: Rendering) -> tuple[list[int], list[Span]]:
    """The tokens of a rendering, and where each turn stands in them."""
    found = tokenizer(whole.text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = list(found["input_ids"]), found["offset_mapping"]
    special = special_ids(tokenizer)
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]

    def tokens_of(span: Span) -> Span:
        first = bisect_right(ends, span[0])
        return first, max(first, bisect_left(starts, span[1]))

    texts = [tokens_of(span) for span in whole.texts]
    if not any(token in special for start, end in texts for token in ids[start:end]):
        return ids, [tokens_of(span) for span in whole.turns]
    if not whole.as_pieces:
        what, remedy = "a text spells out a special token, and the template rewrites it", "remove it from the text"
        raise ModelError(explain(what, str(tokenizer.name_or_path), remedy))
    return _piece_by_piece(tokenizer, whole)


def _piece_by_piece(tokenizer: PreTrainedTokenizerBase, whole: Rendering) -> tuple[list[int], list[Span]]:
    """The same where a text spells out a special token: it stays ordinary text."""
    ids: list[int] = []
    begins: dict[int, int] = {}
    edges = sorted({0, len(whole.text), *(edge for span in (*whole.texts, *whole.turns) for edge in span)})
    for start, end in pairwise(edges):
        begins[start] = len(ids)
        ours = not any(first <= start and end <= last for first, last in whole.texts)
        piece = whole.text[start:end]
        ids += tokenizer(piece, add_special_tokens=False)["input_ids"] if ours else encode_text(tokenizer, piece)
    begins[len(whole.text)] = len(ids)
    return ids, [(begins[start], begins[end]) for start, end in whole.turns]


def _answers(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], turns: Sequence[Span], *, which: Sequence[int]
) -> tuple[list[int], dict[int, Span]]:
    """The tokens and each answer's range with the token that ends it; that token is added where nothing ends the last.

    An earlier answer that the template does not end with the token of the last is learnt without an end.
    """
    special, spans = special_ids(tokenizer), {}
    final = turns[which[-1]][1]
    closing = next((token for token in ids[final:] if token in special), None)
    if closing is None and which[-1] == len(turns) - 1:
        closing = int(tokenizer.eos_token_id)
        ids = [*ids, closing]
    for index in which:
        start, end = turns[index]
        limit = turns[index + 1][0] if index + 1 < len(turns) else len(ids)
        place = next((at for at in range(end, limit) if ids[at] == closing), None)
        spans[index] = (start, end if place is None else place + 1)
    return ids, spans


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends an answer in the tokenizer's template: a model that learnt it stops there."""
    sample = (Message(role="user", content="a"), Message(role="assistant", content="b"))
    encoded = encode(tokenizer, Conversation(row=0, messages=sample))
    return encoded.input_ids[encoded.completion[1] - 1]


def stop_tokens(tokenizer: PreTrainedTokenizerBase, configured: int | Sequence[int] | None) -> list[int]:
    """Every token that ends an answer: the template's, the tokenizer's and those of the generation configuration."""
    known = [configured] if isinstance(configured, int) else list(configured or ())
    if tokenizer.eos_token_id is not None:
        known.append(tokenizer.eos_token_id)
    with suppress(ReftError):  # a template that shows no answers (a guard's) ends none
        known.append(end_of_turn(tokenizer))
    return sorted(set(known))


def encode_all(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], max_length: int | None = None
) -> list[Encoded]:
    """`encode` for each conversation, in order."""
    return [encode(tokenizer, conversation, max_length) for conversation in conversations]


def encode_prompts(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]) -> list[Encoded]:
    """Tokenise each conversation's prompt alone, up to where the answer begins."""
    return [encode(tokenizer, replace(c, messages=c.prompt)) for c in conversations]


def longest_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many characters one token can stand for at most."""
    return max(map(len, tokenizer.get_vocab()))


def fewest_tokens(conversation: Conversation, longest: int) -> int:
    """A number of tokens that the conversation has at least, told without making them (`longest_token`)."""
    letters = sum(len(text) for message in conversation.messages for text in message.texts)
    return max(len(conversation.messages), letters // longest)


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of untrusted text: the names of special tokens in it stay ordinary text."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def special_tokens_in(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    """The tokenizer's special tokens that the text spells out, in the tokenizer's order."""
    return [token for token in special_tokens(tokenizer) if token in text]


def spells_special(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    """Whether the text spells out any special token."""
    return _marks(tokenizer, len(tokenizer)).search(text) is not None


@lru_cache(maxsize=16)
def _marks(tokenizer: PreTrainedTokenizerBase, _size: int) -> re.Pattern[str]:
    """Any special token; where there is none, what no text holds."""
    return re.compile("|".join(map(re.escape, special_tokens(tokenizer))) or r"(?!)")


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The numbers of all special tokens."""
    return frozenset(_special(tokenizer, len(tokenizer)).values())


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """All special tokens: those with a part of their own, and those that are only marked so (reserved ones, say)."""
    return list(_special(tokenizer, len(tokenizer)))


@lru_cache(maxsize=16)
def _special(tokenizer: PreTrainedTokenizerBase, _size: int) -> dict[str, int]:
    named = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    return named | {str(added): index for index, added in tokenizer.added_tokens_decoder.items() if added.special}
