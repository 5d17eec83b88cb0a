"""The names of a row's parts, taken apart: `filtering.parts` makes them, and whoever shows what decided reads them.

A name is a text's ("user[0]", "user[2] alone", "answer[1] reasoning", "system", "field notes"), then, where it is
another reading of that text, which (" as base64"), then, where it is a piece, its first and last character (":12-56").
Whoever reads names loads no model code.
"""

import re
from dataclasses import dataclass, replace

NAME = re.compile(r"(?P<text>.+?)(?: as (?P<reading>[\w+]+))?(?::(?P<first>\d{1,9})-(?P<last>\d{1,9}))?", re.DOTALL)
TURN = re.compile(
    r"(?:(?P<kind>user|answer|tool)\[(?P<index>\d{1,9})\]|(?P<system>system))(?P<rest>| alone| reasoning)"
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A part's name.

    Attributes:
        text: the name of the whole text.
        kind: system, user, answer or tool; "" for a text beside the turns.
        index: the message's number; None for the system turn and for a text beside the turns.
        reasoning: whether it is what an assistant thought before it answered.
        reading: which other reading of the text; "" for the text itself.
        within: first and last character of a piece; None for the whole.
    """

    text: str
    kind: str = ""
    index: int | None = None
    reasoning: bool = False
    reading: str = ""
    within: tuple[int, int] | None = None


def place_of(name: str) -> Place:
    """A part's name, taken apart; what is no such name is the name of a text beside the turns."""
    if not (found := NAME.fullmatch(name)):
        return Place(text=name)
    within = (int(found["first"]), int(found["last"])) if found["first"] else None
    whole = Place(text=found["text"], reading=found["reading"] or "", within=within)
    if not (turn := TURN.fullmatch(whole.text)):
        return whole
    index = int(turn["index"]) if turn["index"] else None
    kind, reasoning = turn["kind"] or turn["system"], turn["rest"] == " reasoning"
    return replace(whole, kind=kind, index=index, reasoning=reasoning)
