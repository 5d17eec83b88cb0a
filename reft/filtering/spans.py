"""The text that a decision was made by, from the name of its part (`parts.row_parts`)."""

from reft.conversations.places import Place, place_of
from reft.conversations.schema import Conversation
from reft.filtering.parts import PARTS, unread_texts
from reft.filtering.variants import variants


def span_of(row: Conversation, where: str) -> str:
    """The part of a row of this name: a piece of a text, another reading of it, or the whole; "" where none is."""
    beside = dict(unread_texts(row))
    if where in beside:  # fields are called as their file pleases: also "a:1-2"
        return beside[where]
    place = place_of(where)
    text = _turn(row, place) if place.kind else beside.get(place.text, "")
    if place.reading:
        text = {other.name: other.text for other in variants(text)}.get(place.reading, "")
    if place.within is None:
        return text
    first, last = place.within
    return text[first:last].strip()


def _turn(row: Conversation, place: Place) -> str:
    """A turn, or what an assistant thought before it; "" where there is none of this kind and number."""
    if place.index is None:
        found = next((m for m in row.messages if m.role == "system"), None)
    else:
        found = row.messages[place.index] if place.index < len(row.messages) else None
        if found is not None and PARTS.get(found.role) != place.kind:
            found = None
    if found is None:
        return ""
    return found.reasoning if place.reasoning else found.content
