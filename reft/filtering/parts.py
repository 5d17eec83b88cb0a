"""The parts of a row that are scored: together they cover every character, in the forms that a model may understand.

A user turn is read in its context, where the row is cut off after it, and alone, since a long harmless
context dilutes it. A system turn and an answer are read as if a user had asked for them. Every text is read
sentence by sentence too, long ones in overlapping windows, and other readings of a text (an encoding,
look-alike letters) beside it: what is harmless around a request must not hide it.
"""

import re
from collections.abc import Iterator

from transformers import PreTrainedTokenizerBase

from reft.config import FilterSettings
from reft.conversations.schema import Conversation, from_prompt
from reft.conversations.tokenization import Encoded, encode
from reft.filtering.variants import variants

# A label ("refund", "lost card") says nothing on its own; whether it is harmful depends on its prompt.
MIN_ANSWER_WORDS = 5
# Nor do "Yes, please." and "OK!": too short a sentence is read with the one before it.
MIN_SENTENCE_WORDS = 4
CHARACTERS_PER_TOKEN = 4  # about, in English
SENTENCE_END = re.compile(r"""[.!?\u2026]+["')\]\u201d\u2019]*\s+|[\u3002\uff01\uff1f]+\s*|\s*\n\s*""")


def row_parts(
    tokenizer: PreTrainedTokenizerBase, conversation: Conversation, settings: FilterSettings, in_context: bool = True
) -> list[tuple[str, Encoded]]:
    """Where each part comes from, and its tokens up to where an answer would begin.

    "user[0]" is the whole message number 0 in its context, "user[2] alone" the same without what came
    before, "user[0]:120-560" a window of its characters, "answer[1] as base64" what it decodes to.
    """
    found = []
    for index, message in enumerate(conversation.messages):
        name = {"user": f"user[{index}]", "system": "system", "assistant": f"answer[{index}]"}[message.role]
        if message.role == "user" and in_context:
            whole = encode(tokenizer, Conversation(conversation.row, conversation.messages[: index + 1]))
            if len(whole) <= settings.longest:
                found.append((name, whole))
        opening = message.role == "user" and index == 0 and in_context  # alone and in its context are the same
        alone = f"{name} alone" if message.role == "user" and not opening else name
        texts = [(alone, message.content, not opening)]
        texts += [(f"{name} as {variant.name}", variant.text, True) for variant in variants(message.content)]
        for where, text, whole in texts:
            if message.role != "assistant" or len(text.split()) >= MIN_ANSWER_WORDS:
                found += _pieces(tokenizer, where, text, settings, whole)
    return found


def sentences(text: str) -> list[tuple[int, int]]:
    """Where each sentence or line of a text begins and ends, in characters; short ones join their neighbour."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    spans: list[tuple[int, int]] = []
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        short = len(text[start:end].split()) < MIN_SENTENCE_WORDS
        if spans and (short or len(text[slice(*spans[-1])].split()) < MIN_SENTENCE_WORDS):
            spans[-1] = (spans[-1][0], end)
        elif text[start:end].strip():
            spans.append((start, end))
    return spans


def _pieces(
    tokenizer: PreTrainedTokenizerBase, where: str, text: str, settings: FilterSettings, whole: bool
) -> Iterator[tuple[str, Encoded]]:
    """The text as a prompt of its own: whole where it is not too long, its sentences, and windows of a long one."""
    tokens = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    offsets = tokens["offset_mapping"]
    if whole and len(offsets) <= settings.longest:
        yield where, encode(tokenizer, from_prompt(text))
    spans = []
    if settings.sentences and len(found := sentences(text)) > 1:
        # A "sentence" without an end is no smaller than the text; the windows below cover it.
        spans = [(a, b) for a, b in found if b - a < settings.window * CHARACTERS_PER_TOKEN]
    if len(offsets) > settings.window:
        step = settings.window - settings.window_overlap
        for start in range(0, len(offsets) - settings.window_overlap, step):
            spans.append((offsets[start][0], offsets[min(start + settings.window, len(offsets)) - 1][1]))
    for first, last in dict.fromkeys(spans):
        yield f"{where}:{first}-{last}", encode(tokenizer, from_prompt(text[first:last].strip()))
