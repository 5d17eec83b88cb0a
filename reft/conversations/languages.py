"""The language of a row."""

import py3langid

from reft.conversations.schema import Conversation

# Below this many characters a guess means little.
ENOUGH_CHARACTERS = 30
# Nigerian Pidgin: one in two hundred short English prompts is taken for it.
TAKEN_FOR_ENGLISH = ("pcm",)


def language_of(row: Conversation) -> str:
    """The ISO 639 code of what the users of a row write; "" where there is too little to tell."""
    text = " ".join(m.content for m in row.messages if m.role == "user")
    if len(text.strip()) < ENOUGH_CHARACTERS:
        return ""
    language = str(py3langid.classify(text)[0])
    return "en" if language in TAKEN_FOR_ENGLISH else language
