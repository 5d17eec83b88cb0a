"""What the shipped files promise: many sources, none of them on both sides, every hazard early in each file."""

import json
from collections import Counter
from pathlib import Path

import pytest

from reft.config import Settings
from reft.conversations.reading import read_conversations
from reft.storage.fingerprint import of_path

SETTINGS = Settings()
DATA, ASKED = SETTINGS.data, SETTINGS.evaluation
PAIRS = sorted(Path("data/written/hazards").glob("*.tsv"))


@pytest.mark.parametrize(
    ("path", "rows", "sources"),
    [
        (DATA.evaluation_harmful, ASKED.harmful_rows, 6),
        (DATA.evaluation_lookalikes, ASKED.lookalike_rows, 4),
        (DATA.evaluation_ordinary, ASKED.ordinary_rows, 3),
    ],
)
def test_no_default_is_judged_by_one_source(path, rows, sources):
    counted = Counter(row.source for row in read_conversations(path, rows))
    assert len(counted) >= sources
    assert max(counted.values()) <= 1.2 * rows / len(counted)


def test_the_evaluation_covers_the_hazards_and_says_which():
    rows = read_conversations(DATA.evaluation_harmful)
    counted = Counter(row.kind for row in rows)
    assert len([kind for kind, n in counted.items() if n >= 5]) >= 14
    assert counted["other"] < 0.12 * len(rows)


def test_nothing_that_judges_is_trained_on():
    trained = [*read_conversations(DATA.alignment_harmful), *read_conversations(DATA.alignment_harmless)]
    prompts = {_plain(row.instruction) for row in trained}
    for use in ("development", "evaluation"):
        for file in sorted(Path("data", use).glob("*.jsonl")):
            assert not [row.row for row in read_conversations(str(file)) if _plain(row.instruction) in prompts], file
    judged = {row.source for row in read_conversations(DATA.evaluation_harmful)}
    assert judged & {row.source for row in trained} <= {"pairs"}  # a sixth of those is held out


def test_every_hazard_stands_among_the_rows_that_are_used():
    used = read_conversations(DATA.alignment_harmful, DATA.alignment_harmful_rows)
    hazards = Counter(json.loads(row.original)["kind"] for row in used if row.source == "pairs")
    assert set(hazards) == {file.stem for file in PAIRS}
    assert min(hazards.values()) >= 5
    assert set(Counter(row.source for row in used)) == {"pairs", "aart", "harmfulqa", "templates"}


def test_the_default_teacher_rests_on_sources_left_out():
    """Its evidence: the same settings and rows, whole and without each of several sources (`leave_source_out`)."""
    lines = [json.loads(line) for line in Path("benchmarks/results/leave_source_out.jsonl").read_text().splitlines()]
    for line in lines:
        line["teacher"].pop("compile_layers", None)  # which moves roundings only
    teacher = SETTINGS.teacher.model_dump(mode="json", exclude={"compile_layers"})
    today = (teacher, of_path("data/alignment"), DATA.alignment_harmful_rows)
    mine = [line for line in lines if (line["teacher"], line["data"], line["rows"][0]) == today and not line["changed"]]
    assert {source for line in mine for source in line["without"]} >= {"pairs", "customers"}
    whole = next(line for line in mine if not line["without"])
    assert len(whole["refused"]["harmful"]) >= 6
    assert min(len(whole["refused"]["lookalikes"]), len(whole["refused"]["ordinary"])) >= 4


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
