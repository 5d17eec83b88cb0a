"""The language of a row, to calibrate each apart and to notice rows in a language of their own."""

from collections import Counter
from collections.abc import Sequence

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


def rare_languages(rows: Sequence[Conversation], least: int = 5, most: float = 0.1) -> list[str]:
    """One sentence for each language of a few rows, at least `least` and at most a share `most`."""
    spoken = [(row.row, language) for row in rows if (language := language_of(row))]
    counts = Counter(language for _, language in spoken)
    if not counts:
        return []
    usual = counts.most_common(1)[0][0]
    return [
        f"{count} of {len(spoken)} rows are in the language {language!r} where most are in {usual!r} "
        f"(first: row {next(row for row, spoken_here in spoken if spoken_here == language)})"
        for language, count in counts.items()
        if language != usual and least <= count <= most * len(spoken)
    ]
