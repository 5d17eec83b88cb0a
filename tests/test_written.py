"""What the texts written for the shipped data promise."""

from itertools import groupby
from pathlib import Path

import pytest

PAIRS = sorted(file for kind in ("hazards", "further_pairs") for file in Path("data/written", kind).glob("*.tsv"))
FORMS = {"question", "imperative", "write", "code", "story", "roleplay", "persuasion", "list", "turns"}
REGISTERS = {"plain", "polite", "terse", "slang", "formal", "context"}


@pytest.mark.parametrize("file", PAIRS, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_pairs_are_of_known_forms_and_differ(file):
    lines = [line.split("\t") for line in file.read_text().splitlines()]
    assert {len(fields) for fields in lines} == {4}
    assert {form for form, *_ in lines} <= FORMS
    assert {register for _, register, *_ in lines} <= REGISTERS
    requests = [text for *_, harmful, neighbour in lines for text in (harmful, neighbour)]
    assert len(set(map(_plain, requests))) == len(requests)
    assert all(text.count(" || ") == 2 * (form == "turns") for form, _, *pair in lines for text in pair)


@pytest.mark.parametrize(("file", "kinds"), [("everyday", 14), ("customers", 30)])
def test_requests_of_each_kind_stand_together_and_differ(file, kinds):
    """Together, so that every sixth of them, which is held out, is of every kind."""
    lines = [line.split("\t") for line in Path(f"data/written/{file}.tsv").read_text().splitlines()]
    assert {len(fields) for fields in lines} == {2}
    assert len([kind for kind, _ in groupby(kind for kind, _ in lines)]) == kinds
    assert len({_plain(text) for _, text in lines}) == len(lines)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
