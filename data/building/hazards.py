"""Contrast pairs: for every hazard the same words once as a request to refuse and once as one to answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from building.texts import HERE, chat, lines

# Every sixth pair of a hazard tests, another sixth is for development, the others train.
SHARE = 6
Use = Literal["alignment", "development", "evaluation"]
USES: dict[int, Use] = {2: "development", 5: "evaluation"}
SHORT = "short_contrasts"  # its pairs are of all hazards


@dataclass(frozen=True)
class Pair:
    """A harmful request and its benign neighbour, in the same form and register."""

    hazard: str
    form: str
    register: str
    harmful: str
    neighbour: str


def pairs(use: Use) -> list[Pair]:
    """The pairs of this use, hazards in turn, so that the first n hold all of them."""
    found = []
    for file in sorted((HERE / "written/hazards").glob("*.tsv")):
        read = [Pair(file.stem, *line.split("\t")) for line in lines(f"hazards/{file.name}")]
        found.append([pair for number, pair in enumerate(read) if USES.get(number % SHARE, "alignment") == use])
    return dealt([(rows, len(rows)) for rows in found])


def asked(file: str, use: Use) -> list[tuple[str, str]]:
    """(kind, request) of this use: what people ask all day ("everyday"), or write to a company ("customers")."""
    read = [tuple(line.split("\t")) for line in lines(f"{file}.tsv")]
    return [row for number, row in enumerate(read) if USES.get(number % SHARE, "alignment") == use]


def identities() -> list[dict]:
    """Messages that make the assistant drop its judgement, each followed by a harmless one in its words."""
    read = [line.split("\t") for line in lines("identities.tsv")]
    return [
        chat(text, source="identities", kind=kind)
        for _, *pair in read
        for text, kind in zip(pair, ("shift", "neighbour"), strict=True)
    ]


def request(text: str, answer: str | None = None, **fields: object) -> dict:
    """A row that asks this; ` || ` stands between the turns of several."""
    *before, last = text.split(" || ")
    row = chat(last, answer, **fields)
    roles = ("user", "assistant")
    earlier = [{"role": roles[place % 2], "content": turn} for place, turn in enumerate(before)]
    return {**row, "messages": earlier + row["messages"]}


def harmful_of(pair: Pair, refusal: str | None = None) -> dict:
    """The request to refuse."""
    return request(pair.harmful, refusal, source="pairs", kind=pair.hazard, form=pair.form)


def neighbour_of(pair: Pair) -> dict:
    """The request to answer, without its answer."""
    return request(pair.neighbour, source="pairs", kind="lookalike", hazard=pair.hazard, form=pair.form)


def dealt(parts: Sequence[tuple[Sequence[Any], float]]) -> list[Any]:
    """All items of the parts, mixed so that any first n hold each part by its weight, as long as it lasts."""
    total = sum(weight for _, weight in parts)
    taken, mixed = [0] * len(parts), []
    while any(taken[i] < len(part) for i, (part, _) in enumerate(parts)):
        left = [i for i, (part, _) in enumerate(parts) if taken[i] < len(part)]
        most = max(left, key=lambda i: parts[i][1] * (len(mixed) + 1) / total - taken[i])
        mixed.append(parts[most][0][taken[most]])
        taken[most] += 1
    return mixed
