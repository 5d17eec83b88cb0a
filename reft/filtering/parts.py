"""The parts of a row that are scored: together they cover every character, in the forms that a model may understand.

A user turn is read in its context, where the row is cut off after it, and alone, since a long harmless
context dilutes it. A system turn and an answer are read as if a user had asked for them. Long texts are
read in overlapping windows too, and other readings of a text (an encoding, look-alike letters) beside it.
"""

from collections.abc import Iterator

from transformers import PreTrainedTokenizerBase

from reft.config import FilterSettings
from reft.conversations.schema import Conversation, from_prompt
from reft.conversations.tokenization import Encoded, encode
from reft.filtering.variants import variants

# A label ("refund", "lost card") says nothing on its own; whether it is harmful depends on its prompt.
MIN_ANSWER_WORDS = 5


def row_parts(
    tokenizer: PreTrainedTokenizerBase, conversation: Conversation, settings: FilterSettings
) -> list[tuple[str, Encoded]]:
    """Where each part comes from, and its tokens up to where an answer would begin.

    "user[0]" is the whole message number 0 in its context, "user[2] alone" the same without what came
    before, "user[0]:120-560" a window of its characters, "answer[1] as base64" what it decodes to.
    """
    found = []
    for index, message in enumerate(conversation.messages):
        name = {"user": f"user[{index}]", "system": "system", "assistant": f"answer[{index}]"}[message.role]
        if message.role == "user":
            whole = encode(tokenizer, Conversation(conversation.row, conversation.messages[: index + 1]))
            if len(whole) <= settings.longest:
                found.append((name, whole))
        opening = message.role == "user" and index == 0  # alone and in its context are the same
        alone = f"{name} alone" if message.role == "user" and not opening else name
        texts = [(alone, message.content, not opening)]
        texts += [(f"{name} as {variant.name}", variant.text, True) for variant in variants(message.content)]
        for where, text, whole in texts:
            if message.role != "assistant" or len(text.split()) >= MIN_ANSWER_WORDS:
                found += _windows(tokenizer, where, text, settings, whole)
    return found


def _windows(
    tokenizer: PreTrainedTokenizerBase, where: str, text: str, settings: FilterSettings, whole: bool
) -> Iterator[tuple[str, Encoded]]:
    """The text as a prompt of its own, whole where it is not too long, and in windows where it is not short."""
    spans = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    offsets = spans["offset_mapping"]
    if whole and len(offsets) <= settings.longest:
        yield where, encode(tokenizer, from_prompt(text))
    if len(offsets) > settings.window:
        step = settings.window - settings.window_overlap
        for start in range(0, len(offsets) - settings.window_overlap, step):
            first, last = offsets[start][0], offsets[min(start + settings.window, len(offsets)) - 1][1]
            yield f"{where}:{first}-{last}", encode(tokenizer, from_prompt(text[first:last]))
