"""The examples run, with a tiny model."""

import csv
import runpy
from pathlib import Path

import pytest

from reft.config import FilteringSettings, read_profile
from reft.filtering.inputs import read_inputs
from reft.scan.scan import scan_file
from tests.factories import BREAD, HARM, build_scorer

EXAMPLES = Path("examples").absolute()


@pytest.fixture(scope="module")
def teacher(tiny_model, tmp_path_factory):
    return build_scorer(tmp_path_factory.mktemp("scorer"), tiny_model)


@pytest.fixture
def table(tmp_path):
    rows = [(BREAD.format(i), "yes") for i in range(20)] + [(HARM.format(i), "Sure") for i in range(90, 94)]
    with (tmp_path / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("prompt", "completion"), *rows])
    return tmp_path / "data.csv"


def test_a_csv_is_scanned_from_python(teacher, table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["scan_csv.py", str(table), str(teacher)])
    found = runpy.run_path(str(EXAMPLES / "scan_csv.py"))["result"]
    assert found.rows == 24
    assert sum(found.counts.values()) == 24
    assert found.counts["kept"] < 24
    assert str(found.counts) in capsys.readouterr().out


def test_a_scorer_of_ones_own_sorts_rows(teacher, table, tmp_path):
    example = runpy.run_path(str(EXAMPLES / "own_scorer.py"))
    scorer = example["load"](read_inputs(teacher))
    settings = FilteringSettings(fpr=0.05, quarantine_fpr=0.1)
    result = scan_file(table, tmp_path / "out", scorer, settings=settings)
    assert result
    assert result.scorer == "words"
    assert result.counts["kept"] == 20
    kept = (tmp_path / "out" / "kept.csv").read_text()
    assert "rob bank" not in kept


def test_the_profile_for_ones_own_rows_is_one():
    settings = read_profile(EXAMPLES / "own_rows.yaml")
    assert settings.data.user_labels is None
    assert settings.data.task_test is None
    assert Path(settings.data.user).is_file()
