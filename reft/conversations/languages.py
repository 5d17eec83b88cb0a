"""The language of a row."""

import re
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from reft.conversations.schema import Conversation

# Below this many letters a guess means little: what is left of a formula, a table or a list of codes.
ENOUGH_LETTERS = 20
# How sure the classifier must be. It answers something for any text: code, names and lists of words get a language at
# 0.1 to 0.3, while a question of one sentence reaches 0.7 and more.
ENOUGH_PROBABILITY = 0.5
# Nigerian Pidgin: one in two hundred short English prompts is taken for it.
TAKEN_FOR_ENGLISH = "pcm"
NO_LANGUAGE = "zxx"  # ISO 639: no linguistic content
ADDRESS = re.compile(r"\S*(?:://|@|www\.)\S*")


def language_of(row: Conversation) -> str:
    """The ISO 639 code of what the users of a row write; "" where there is too little to tell."""
    return language_of_text(" ".join(m.content for m in row.messages if m.role == "user"))


def language_of_text(text: str) -> str:
    """The ISO 639 code of a text; "" where there is too little to tell: few letters, or none of a clear language."""
    text = ADDRESS.sub(" ", text)
    if sum(map(str.isalpha, text)) < ENOUGH_LETTERS:
        return ""
    probabilities = dict(_identifier().rank(text))
    probabilities["en"] += probabilities.pop(TAKEN_FOR_ENGLISH)
    language = max(probabilities, key=lambda code: probabilities[code])
    sure = probabilities[language] >= ENOUGH_PROBABILITY
    return language if sure and language != NO_LANGUAGE else ""


@cache
def _identifier() -> LanguageIdentifier:
    """With probabilities that add up to one, whatever the length; those of the module's own functions do not."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
