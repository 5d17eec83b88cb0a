"""A dialogue as its chat template writes it, and where in that text each turn stands.

Templates are asked twice: once with stand-ins for the texts, once a shape of row, which says where texts go; and with
the texts themselves, which is the truth. Most templates only put texts between their marks, and the two agree. Where
they do not (Qwen3 takes thoughts out of earlier turns, others strip white space), the turns are found in the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from reft.conversations.schema import Message, Role
from reft.conversations.templates import render
from reft.conversations.turns import REASONING
from reft.errors import ModelError, explain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Stand-ins from a private-use plane: no tokenizer has them, no template tests for them, and they
# are only ever put where a text goes, never searched for in what a user wrote.
_OPEN, _CLOSE, _END = "\U000f5a01", "\U000f5a02", "\U000f5a03"
Span = tuple[int, int]
Options = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """A dialogue as text.

    Attributes:
        turns: for each message the half-open range of characters of what it says; an answer's begins where a model
            would begin to write it.
        texts: the ranges that users wrote.
        as_pieces: the template put every text as it is.
    """

    text: str
    turns: tuple[Span, ...]
    texts: tuple[Span, ...]
    as_pieces: bool


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Where a template puts texts: its own pieces, one more than slots, and which text fills each slot."""

    pieces: tuple[str, ...]
    slots: tuple[tuple[int, bool], ...]
    opening: str


def rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, options: Options = ()) -> Rendering:
    """The dialogue, up to where an answer begins if it ends with another's turn.

    Raises:
        ModelError: the template refuses these messages, drops one, or rewrites one beyond recognition.
    """
    asks = messages[-1].role != "assistant"
    shape = shape_of(
        tokenizer,
        str(tokenizer.chat_template),
        tuple((m.role, bool(m.reasoning)) for m in messages),
        asks=asks,
        options=options,
    )
    truth = render(tokenizer, given(tokenizer, messages), asks, options=dict(options))
    found = _put_together(shape, messages)
    return found if found.text == truth else _found_in(tokenizer, messages, truth, shape=shape, options=options)


def given(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[dict[str, str]]:
    """What the template sees; thoughts under the name that it asks for."""
    template = str(tokenizer.chat_template)
    name = next((name for name in REASONING if name in template), REASONING[0])
    return [{"role": m.role, "content": m.content, **({name: m.reasoning} if m.reasoning else {})} for m in messages]


@lru_cache(maxsize=4096)
def shape_of(
    tokenizer: PreTrainedTokenizerBase,
    _template: str,
    turns: tuple[tuple[Role, bool], ...],
    *,
    asks: bool,
    options: Options,
) -> Shape:
    """The shape of a row of these turns (whose, and whether with thoughts).

    Raises:
        ModelError: the template refuses them, or drops or reorders one.
    """
    slots = [(index, thoughts) for index, (_, thinks) in enumerate(turns) for thoughts in (True, False)[not thinks :]]
    marks = {f"{_OPEN}{index}{'t' * thoughts}{_CLOSE}": (index, thoughts) for index, thoughts in slots}
    named = {slot: mark for mark, slot in marks.items()}
    messages = [
        Message(role=role, content=named[index, False], reasoning=named.get((index, True), ""))
        for index, (role, _) in enumerate(turns)
    ]
    rest = render(tokenizer, given(tokenizer, messages), asks, options=dict(options))
    pieces, filled = [], []
    while _OPEN in rest:
        before, _, rest = rest.partition(_OPEN)
        name, _, rest = rest.partition(_CLOSE)
        pieces.append(before)
        filled.append(marks[f"{_OPEN}{name}{_CLOSE}"])
    shown = [index for index, thoughts in filled if not thoughts]
    if shown != list(range(len(turns))):
        index = next((i for i in range(len(turns)) if shown[i : i + 1] != [i]), 0)
        what = f"the chat template drops or reorders message {index} ({turns[index][0]})"
        remedy = "set model.chat_template: chatml, or name a template that shows every message"
        raise ModelError(explain(what, str(tokenizer.name_or_path), remedy))
    opening = _opening(tokenizer, options)
    return Shape(pieces=(*pieces, rest), slots=tuple(filled), opening=opening)


def _opening(tokenizer: PreTrainedTokenizerBase, options: Options) -> str:
    """What the template writes before an answer that is asked for; empty where that cannot be told."""
    ask = [{"role": "user", "content": f"{_OPEN}{_CLOSE}"}]
    closed, asked = (render(tokenizer, ask, asks, options=dict(options)) for asks in (False, True))
    return asked.removeprefix(closed) if asked.startswith(closed) else ""


def _put_together(shape: Shape, messages: Sequence[Message]) -> Rendering:
    """The texts between the template's pieces."""
    text, texts = "", []
    turns = [(0, 0)] * len(messages)
    begins: dict[int, int] = {}
    for piece, (index, thoughts) in zip(shape.pieces, shape.slots, strict=False):
        text += piece
        begin = len(text)
        if messages[index].role == "assistant" and shape.opening and (at := piece.rfind(shape.opening)) >= 0:
            begin += at + len(shape.opening) - len(piece)
        begins.setdefault(index, begin)
        said = messages[index].reasoning if thoughts else messages[index].content
        texts.append((len(text), len(text) + len(said)))
        text += said
        turns[index] = (begins[index], len(text))
    return Rendering(text=text + shape.pieces[-1], turns=tuple(turns), texts=tuple(texts), as_pieces=True)


def _found_in(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    truth: str,
    *,
    shape: Shape,
    options: Options,
) -> Rendering:
    """The turns of a dialogue whose texts the template changes: a mark at each one's end says where it went."""
    turns: list[Span] = []
    last = 0
    for index, message in enumerate(messages):
        marked = [*messages]
        marked[index] = message.model_copy(update={"content": message.content.rstrip() + _END})
        asks = messages[-1].role != "assistant"
        before, found, _ = render(tokenizer, given(tokenizer, marked), asks, options=dict(options)).partition(_END)
        end = len(before)
        if not found or not truth.startswith(before):
            what = f"the chat template changes message {index} ({message.role}) beyond recognition"
            remedy = "write the text as the template does, or set model.chat_template: chatml"
            raise ModelError(explain(what, str(tokenizer.name_or_path), remedy))
        said = message.content.strip()
        begin = end - len(said) if truth[last:end].endswith(said) else last
        if message.role == "assistant":
            at = truth.find(shape.opening, last, end) if shape.opening else -1
            begin = at + len(shape.opening) if at >= 0 else begin
        turns.append((begin, end))
        last = end
    return Rendering(text=truth, turns=tuple(turns), texts=tuple(turns), as_pieces=False)
