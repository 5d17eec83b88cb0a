"""Equal rows are read by the model once; that, and reading ahead, decide nothing."""

import json

import pytest

from reft.config import FilteringSettings
from reft.conversations.reading import read_conversations
from reft.filtering.filter import Filter
from reft.filtering.inputs import read_inputs
from reft.filtering.scorers import load_scorer
from reft.scan import judging, scan
from reft.scan.judging import Judging
from tests.factories import BREAD, HARM, build_scorer, row, write_jsonl

SETTINGS = FilteringSettings(fpr=0.05, quarantine_fpr=0.05)


@pytest.fixture(scope="module")
def scorer(tiny_model, tmp_path_factory):
    return load_scorer("refusal_feature", read_inputs(build_scorer(tmp_path_factory.mktemp("scorer"), tiny_model)))


def repeated(path):
    """Forty rows of eight texts; the others' field decides too."""
    rows = [row((HARM if i % 4 == 0 else BREAD).format(i % 8), "yes") for i in range(40)]
    rows[7]["note"] = HARM.format(9)
    rows[20]["messages"] = [{"role": "system", "content": "be kind"}, *rows[20]["messages"]]
    return write_jsonl(path, rows)


def decisions(out):
    return [json.loads(line) for line in (out / "decisions.jsonl").open()]


def test_rows_that_say_the_same_are_read_once_and_decided_as_before(scorer, tmp_path, monkeypatch):
    path = repeated(tmp_path / "rows.jsonl")
    read = []

    class Counting(Judging):
        def judge(self, rows):
            found = super().judge(rows)
            read.append(self.read)
            return found

    monkeypatch.setattr(scan, "ROWS_PER_SHARD", 7)
    monkeypatch.setattr(scan, "Judging", Counting)
    once = scan.scan_file(path, tmp_path / "once", scorer, settings=SETTINGS)
    assert read[-1] == 10
    monkeypatch.setattr(scan, "Judging", lambda chosen: Judging(chosen, 0))
    again = scan.scan_file(path, tmp_path / "again", scorer, settings=SETTINGS)
    assert once.counts == again.counts
    assert once.counts["kept"] < 40
    for one, other in zip(decisions(tmp_path / "once"), decisions(tmp_path / "again"), strict=True):
        assert (one["row"], one["decision"], one["where"]) == (other["row"], other["decision"], other["where"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
        assert one["parts"] == pytest.approx(other["parts"], abs=1e-4)


def test_only_the_latest_rows_are_remembered(scorer, tmp_path):
    rows = read_conversations(repeated(tmp_path / "rows.jsonl"))
    chosen = Filter.calibrated(scorer, SETTINGS)
    few = Judging(chosen, most=3)
    scores, verdicts = few.judge(rows)
    assert (len(scores), len(verdicts), few.read) == (40, 40, 9)  # fields beside the turns are not read here
    assert len(few._known) == 3
    few.judge(rows[-3:])
    assert few.read == 9
    few.judge(rows[:1])
    assert few.read == 10
    expected, _ = chosen.judge(rows)
    for one, other in zip(scores, expected, strict=True):
        assert one.row == other.row
        assert one.deciding.score == pytest.approx(other.deciding.score, abs=1e-4)
    assert judging.REMEMBERED > 1000
