"""The parts of a row that are scored: together they cover every character, in the forms that a model may understand.

A user turn is read in its context, where the row is cut off after it, and alone, since a long harmless
context dilutes it. A system turn, a tool's output and an answer are read as if a user had asked for them. Every
text is read sentence by sentence too, long ones in overlapping windows, and other readings of a text (an encoding,
look-alike letters) beside it: what is harmless around a request must not hide it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from reft.config import FilteringSettings
from reft.conversations.schema import Conversation, from_prompt
from reft.conversations.sentences import sentences, word_count
from reft.conversations.tokenization import Encoded, encode
from reft.errors import ModelError
from reft.filtering.variants import variants
from reft.moved import keep_old_names

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PARTS = {"user": "user", "assistant": "answer", "tool": "tool"}
# A label ("refund", "lost card") says nothing on its own; whether it is harmful depends on its prompt.
MIN_ANSWER_WORDS = 5
# A field that is not read counts as text where it has a word of letters: numbers, dates and digests have none.
WORD, LONGEST_WHERE = re.compile(r"[^\W\d_]{3}"), 80


def row_parts(
    tokenizer: PreTrainedTokenizerBase,
    conversation: Conversation,
    settings: FilteringSettings,
    *,
    in_context: bool = True,
) -> list[tuple[str, Encoded]]:
    """Where each part comes from, and its tokens up to where an answer would begin.

    "user[0]" is the whole message number 0 in its context, "user[2] alone" the same without what came
    before, "user[0]:120-560" a window of its characters, "answer[1] as base64" what it decodes to.

    Raises:
        ModelError: the template takes one of the texts in no way.
    """
    found = []
    for index, message in enumerate(conversation.messages):
        name = "system" if message.role == "system" else f"{PARTS[message.role]}[{index}]"
        so_far = _in_context(tokenizer, conversation, index) if message.role == "user" and in_context else None
        if so_far and len(so_far) <= settings.longest:
            found.append((name, so_far))
        opening = so_far is not None and index == 0  # alone and in its context are the same
        alone = f"{name} alone" if message.role == "user" and not opening else name
        least = MIN_ANSWER_WORDS if message.role == "assistant" else 0
        found += _read(tokenizer, alone, message.content, settings=settings, least=least, whole=not opening)
        found += _read(tokenizer, f"{name} reasoning", message.reasoning, settings=settings, least=MIN_ANSWER_WORDS)
    for where, text in unread_texts(conversation):
        found += _read(tokenizer, where, text, settings=settings, least=MIN_ANSWER_WORDS)
    return found


def _in_context(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, index: int) -> Encoded | None:
    """The row up to a user turn; None where the template refuses it, and the turn is read alone."""
    messages = conversation.messages[: index + 1]
    try:
        return encode(tokenizer, replace(conversation, messages=messages))
    except ModelError:
        return None


def unread_texts(conversation: Conversation) -> Iterator[tuple[str, str]]:
    """What a row carries beside its messages: each text of some words by itself, the shorter ones as one.

    A request that is spread over fields is read as a whole, and a file's usual columns (an id, a source) are not
    texts at all.
    """
    short = []
    for unread in conversation.unread:
        yield f"field {unread.field}", unread.text  # a single long word, too: it may be an encoding of many
        if word_count(unread.text) < MIN_ANSWER_WORDS and WORD.search(unread.text):
            short.append(unread)
    if len(short) > 1:
        fields = ", ".join(dict.fromkeys(unread.field for unread in short))[:LONGEST_WHERE]
        yield f"fields {fields}", " ".join(unread.text for unread in short)


def _read(
    tokenizer: PreTrainedTokenizerBase,
    where: str,
    text: str,
    *,
    settings: FilteringSettings,
    least: int,
    whole: bool = True,
) -> Iterator[tuple[str, Encoded]]:
    """A text and its other readings, where they have at least so many words."""
    texts = [(where, text, whole), *((f"{where} as {other.name}", other.text, True) for other in variants(text))]
    for name, reading, entire in texts:
        if reading.strip() and word_count(reading) >= least:
            yield from _pieces(tokenizer, name, reading, settings=settings, whole=entire)


def _pieces(
    tokenizer: PreTrainedTokenizerBase, where: str, text: str, *, settings: FilteringSettings, whole: bool
) -> Iterator[tuple[str, Encoded]]:
    """The text as a prompt of its own: whole where it is not too long, its sentences, and windows of a long one."""
    tokens = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    offsets = tokens["offset_mapping"]
    if whole and len(offsets) <= settings.longest:
        yield where, _asked(tokenizer, text)
    spans = []
    if settings.sentences and len(found := sentences(text)) > 1:
        starts = [start for start, _ in offsets]
        # One of so many tokens has no end worth the name; the windows below cover it.
        spans = [(a, b) for a, b in found if bisect_left(starts, b) - bisect_left(starts, a) <= settings.longest]
    if len(offsets) > settings.window:
        step = settings.window - settings.window_overlap
        for start in range(0, len(offsets) - settings.window_overlap, step):
            spans.append((offsets[start][0], offsets[min(start + settings.window, len(offsets)) - 1][1]))
    for first, last in dict.fromkeys(spans):
        if piece := text[first:last].strip():
            yield f"{where}:{first}-{last}", encode(tokenizer, from_prompt(piece))


def _asked(tokenizer: PreTrainedTokenizerBase, text: str) -> Encoded:
    """The text as a prompt of its own, as it is where that can be encoded.

    Where it spells out a special token and the template takes white space away, there is none for it to take.
    """
    try:
        return encode(tokenizer, from_prompt(text))
    except ModelError:
        return encode(tokenizer, from_prompt(text.strip()))


keep_old_names(__name__)
