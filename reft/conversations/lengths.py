"""How many tokens rows take: `len(encode(row))` for many rows at once, without where each token stands.

The tokenizer's own Rust code takes a batch at a time and keeps no offsets. That says enough where it can be proved
that no text holds, or takes part in, a special token; `encode` judges every other row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import transformers

from reft.conversations.rendering import Shape, given, shape_of
from reft.conversations.schema import Conversation
from reft.conversations.templates import CHATML, PLAIN, render
from reft.conversations.tokenization import encode, special_ids, special_tokens, spells_special
from reft.errors import ModelError

# Templates of this house that put every text as it is: what they render is their pieces and the texts.
VERBATIM = frozenset({CHATML, PLAIN})
CHARACTERS_AT_ONCE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class _Plain:
    """A shape of row whose special tokens are the template's alone, whatever the texts say.

    Attributes:
        special: the numbers of its special tokens, in order.
        added: tokens that `encode` adds where nothing ends the last answer.
    """

    shape: Shape
    special: tuple[int, ...]
    added: int


def lengths(tokenizer: transformers.PreTrainedTokenizerBase, rows: Sequence[Conversation]) -> list[int | ModelError]:
    """`len(encode(tokenizer, row))` of each row; where the template refuses it, the error.

    Raises:
        DataValidationError: a row without a user turn.
    """
    found: list[int | ModelError] = [0] * len(rows)
    texts: list[tuple[int, str, _Plain]] = []
    for index, row in enumerate(rows):
        try:
            plain = _plain_text(tokenizer, row)
            if plain:
                texts.append((index, *plain))
            else:
                found[index] = len(encode(tokenizer, row))
        except ModelError as error:
            found[index] = error
    special = special_ids(tokenizer)
    for part in _parts(texts):
        for (index, _, plain), ids in zip(part, _encoded(tokenizer, [text for _, text, _ in part]), strict=True):
            if tuple(filter(special.__contains__, ids)) == plain.special:
                found[index] = len(ids) + plain.added
            else:  # the model's own vocabulary made one: an unknown character, say
                found[index] = _length(tokenizer, rows[index])
    return found


def _length(tokenizer: transformers.PreTrainedTokenizerBase, row: Conversation) -> int | ModelError:
    try:
        return len(encode(tokenizer, row))
    except ModelError as error:
        return error


def _plain_text(tokenizer: transformers.PreTrainedTokenizerBase, row: Conversation) -> tuple[str, _Plain] | None:
    """The row as its template writes it, where its tokens can be counted without `encode`."""
    messages = row.messages
    if row.options or not _counts(tokenizer, len(tokenizer)) or all(m.role != "user" for m in messages):
        return None
    template = str(tokenizer.chat_template)
    turns = tuple((m.role, bool(m.reasoning)) for m in messages)
    plain = _plain_shape(tokenizer, template, turns, size=len(tokenizer))
    if plain is None:
        return None
    parts = []
    for piece, (index, thoughts) in zip(plain.shape.pieces, plain.shape.slots, strict=False):
        parts += [piece, messages[index].reasoning if thoughts else messages[index].content]
    text = "".join((*parts, plain.shape.pieces[-1]))
    if any(spells_special(tokenizer, said) for said in parts[1::2]):
        return None
    asks = messages[-1].role != "assistant"
    if template not in VERBATIM and text != render(tokenizer, given(tokenizer, messages), asks):
        return None
    return text, plain


@lru_cache(maxsize=4096)
def _plain_shape(
    tokenizer: transformers.PreTrainedTokenizerBase, template: str, turns: tuple[tuple[Any, bool], ...], *, size: int
) -> _Plain | None:
    """The shape, where no text can meet one of its pieces in a special token; None where one might."""
    del size  # tokens may be added: then all is looked at anew
    asks = turns[-1][0] != "assistant"
    shape = shape_of(tokenizer, template, turns, asks=asks, options=())
    if not shape.slots or shape.slots[-1] != (len(turns) - 1, False):
        return None
    marks = special_tokens(tokenizer)
    last = len(shape.pieces) - 1
    for number, piece in enumerate(shape.pieces):
        begins = number < last and any(piece.endswith(mark[:k]) for mark in marks for k in range(1, len(mark)))
        ends = number > 0 and any(piece.startswith(mark[k:]) for mark in marks for k in range(1, len(mark)))
        between = 0 < number < last and any(piece in mark for mark in marks)
        if begins or ends or between:
            return None
    numbers = special_ids(tokenizer)
    ids, ending = _encoded(tokenizer, ["a".join(shape.pieces), f"a{shape.pieces[-1]}"])
    special = tuple(token for token in ids if token in numbers)
    if tokenizer.unk_token_id in special:
        return None
    return _Plain(shape=shape, special=special, added=0 if asks or numbers.intersection(ending) else 1)


@lru_cache(maxsize=16)
def _counts(tokenizer: transformers.PreTrainedTokenizerBase, _size: int) -> bool:
    """Whether the tokenizer finds a special token exactly where a text spells it out, and nowhere else.

    Not so where it is looked for in a normalised text, or takes blanks beside it along; and a class of its own may
    do anything.
    """
    if not isinstance(tokenizer, transformers.PreTrainedTokenizerFast):
        return False
    theirs = transformers.PreTrainedTokenizerFast
    if type(tokenizer)._encode_plus is not theirs._encode_plus or type(tokenizer).__call__ is not theirs.__call__:
        return False
    if tokenizer.split_special_tokens:
        return False
    added = {str(token): token for token in tokenizer.added_tokens_decoder.values()}
    normalises = tokenizer.backend_tokenizer.normalizer is not None
    for mark in special_tokens(tokenizer):
        token = added.get(mark)
        if not mark or token is None or token.lstrip or token.rstrip or (token.normalized and normalises):
            return False
    return True


def _parts(texts: list[tuple[int, str, _Plain]]) -> Iterator[list[tuple[int, str, _Plain]]]:
    """So many at once that their tokens take little memory."""
    part, size = list[tuple[int, str, _Plain]](), 0
    for each in texts:
        if part and size + len(each[1]) > CHARACTERS_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(each)
        size += len(each[1])
    if part:
        yield part


def _encoded(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """As `tokenizer(text, add_special_tokens=False)` has them; what an earlier call set in the Rust half counts not."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = False
    return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]
