"""A row's text in pieces for a page: the deciding span marked, what cannot be seen written out, what is long cut."""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from reft.conversations.places import place_of

LONGEST = 4000  # characters of a turn that are shown whole; of a longer one its ends, and what is AROUND the span
AROUND = 300
MOST_MARKS = 20
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@dataclass(frozen=True)
class Piece:
    """`text`, `mark` (of the deciding span), `sign` (a character that has no form, by its name) or `gap`."""

    kind: str
    text: str
    title: str = ""
    within: bool = False


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One part of a row as it is shown."""

    role: str
    pieces: list[Piece]
    decides: bool
    cut: bool


def turns_of(content: Mapping[str, Any], place: str, span: str) -> list[Turn]:
    """The parts of a row, in order; a row of another shape is one part, as JSON."""
    found, at = [], place_of(place)
    for index, (role, text) in enumerate(_parts(content)):
        here = at.index == index if at.index is not None else at.kind == role == "system"
        # Characters are counted in the turn itself, not in what it decodes to, nor in the thoughts before it.
        exact = [at.within] if here and at.within and not (at.reading or at.reasoning) else []
        spans = [s for s in exact if s[1] <= len(text)] or _places(text, span)
        pieces = pieces_of(text, spans)
        cut = any(piece.kind == "gap" for piece in pieces)
        found.append(Turn(role=role, pieces=pieces, decides=here or bool(spans), cut=cut))
    return found


def texts_of(content: Mapping[str, Any]) -> list[str]:
    """All that a row says."""
    return [text for _, text in _parts(content)]


def _parts(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    messages = content.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
        yield "row", _as_json(content)
        return
    for message in messages:
        text = message.get("content")
        yield str(message.get("role", "")), text if isinstance(text, str) else _as_json(text)
    if further := {name: value for name, value in content.items() if name != "messages"}:
        yield "other fields", _as_json(further)
    for number, message in enumerate(messages):
        if further := {name: value for name, value in message.items() if name not in ("role", "content")}:
            yield f"other fields of turn {number + 1}", _as_json(further)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _places(text: str, span: str) -> list[tuple[int, int]]:
    """Where the span stands; not more often than helps."""
    found: list[tuple[int, int]] = []
    start = text.find(span) if span else -1
    while start >= 0 and len(found) < MOST_MARKS:
        found.append((start, start + len(span)))
        start = text.find(span, start + len(span))
    return found


def pieces_of(text: str, spans: list[tuple[int, int]]) -> list[Piece]:
    """The text in pieces, with these spans marked."""
    found, done = [], 0
    for start, end in _windows(len(text), spans):
        if start > done:
            found.append(Piece("gap", f"{start - done:,} characters are not shown here"))
        edges = sorted({start, end, *(edge for span in spans for edge in span if start < edge < end)})
        for a, b in pairwise(edges):
            within = any(s <= a and b <= e for s, e in spans)
            found += _signs(text[a:b], within=within)
        done = end
    if done < len(text):
        found.append(Piece("gap", f"{len(text) - done:,} characters are not shown here"))
    return found


def _windows(length: int, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Which parts are shown: all, or both ends and the surroundings of the first span (of a long one its beginning)."""
    if length <= LONGEST:
        return [(0, length)]
    wanted = [(0, AROUND if spans else LONGEST - AROUND), (length - AROUND, length)]
    for start, end in spans[:1]:
        wanted.append((max(0, start - AROUND), min(length, min(end, start + LONGEST) + AROUND)))
    joined: list[tuple[int, int]] = []
    for start, end in sorted(wanted):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _signs(text: str, *, within: bool) -> Iterator[Piece]:
    for sign, run in groupby(text, key=lambda c: c if _unseen(c) else ""):
        piece = "".join(run)
        if not sign:
            yield Piece("mark" if within else "text", piece)
            continue
        times = f" \u00d7{len(piece)}" if len(piece) > 1 else ""
        name = unicodedata.name(sign, "a character without a form")
        yield Piece("sign", f"U+{ord(sign):04X}{times}", name.lower(), within)


def _unseen(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in UNSEEN


def marked(text: object) -> list[Piece]:
    """Any words that came from elsewhere (a name, a reason), for a page."""
    return pieces_of(str(text), [])
