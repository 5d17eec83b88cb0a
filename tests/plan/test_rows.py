"""The plan of rows: sums by hand, memory against what is really taken, rates that were measured."""

import json
import tracemalloc

import numpy as np
import pytest
from typer.testing import CliRunner

from reft.cli import app
from reft.config import ClusterSettings, ValidationSettings
from reft.errors import ConfigurationError
from reft.plan.rows import FINDING, NOTED, STARTING, Rates, count_of, plan_rows, required
from reft.scan.rates import rate_of_validation
from reft.validation.rows import Columns, Judge
from reft.validation.sorting import Rules
from tests.factories import row, write_jsonl


def test_a_hundred_million_rows_by_hand():
    rates = Rates(validated=1000, scanned=50, row_bytes=800)
    cluster = ClusterSettings(nodes=16, gpus_per_node=4, cpus=4, shard_mb=256)
    validate, scan = plan_rows(100_000_000, rates, cluster, processes=2, price=0.5)
    assert validate.parts == 299  # 80 GB in pieces of 256 MB
    assert validate.pods == 16
    turns = 19  # 299 over 16
    assert validate.seconds == pytest.approx(turns * (STARTING + 100e6 / 299 / 4000))
    assert validate.seconds_here == pytest.approx(STARTING + 50_000)
    assert validate.cost == pytest.approx(16 * validate.seconds / 3600 * 0.5)
    assert validate.merging_bytes == pytest.approx(20.6e9, rel=0.03)
    assert scan.parts == 1526  # of 65,536 rows
    assert scan.pods == 16
    assert scan.seconds == pytest.approx(96 * (STARTING + 100e6 / 1526 / 50))  # 1526 over 16
    assert scan.disk_bytes == pytest.approx(2 * 80e9 / 1526, rel=0.01)
    assert [need.command for need in plan_rows(10, Rates(validated=1), cluster, processes=1)] == ["validate"]


def test_more_pods_than_parts_wait_for_nothing():
    few = plan_rows(1000, Rates(validated=100), ClusterSettings(nodes=50), processes=1)[0]
    assert (few.parts, few.pods, few.cost) == (1, 1, None)


def test_a_pod_that_takes_more_than_it_may_is_told():
    small = ClusterSettings(memory="512Mi", cpus=4)
    needs = plan_rows(10_000_000, Rates(validated=1000), small, processes=1)
    assert "raise cluster.memory" in required(small, needs)[0]
    assert required(ClusterSettings(), needs) == []


def test_the_index_takes_the_memory_that_is_planned(tokenizer):
    rows, random = 300_000, np.random.default_rng(0)
    tracemalloc.start()
    noted = Columns(tokenizer)
    for values in noted.values.values():
        some = random.integers(0, 1 << 62, rows) if values.typecode == "Q" else np.ones(rows)
        values.frombytes(some.astype(values.typecode).tobytes())
    held = tracemalloc.get_traced_memory()[0]
    noted.frame()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held == pytest.approx((NOTED - 1) * rows, rel=0.2)  # one byte more says where the row went
    assert 0.6 * (NOTED + FINDING) * rows < peak < (NOTED + FINDING) * rows


@pytest.mark.parametrize(("text", "rows"), [("100M", 10**8), ("2.5k", 2500), ("1_000", 1000), ("3b", 3 * 10**9)])
def test_numbers_as_people_write_them(text, rows):
    assert count_of(text) == rows


@pytest.mark.parametrize("text", ["", "0", "many", "-3", "1e9", "5T"])
def test_what_is_no_number_of_rows_is_told(text):
    with pytest.raises(ConfigurationError, match=r"no number of rows[\s\S]*500k or 100M"):
        count_of(text)


def test_the_command_says_what_it_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["plan", "--rows", "100M", "--rows-per-second", "2000", "--pod-hour", "0.4"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "100,000,000 rows of 700 bytes" in done.output
    assert "validate" in done.output
    assert "scan: no rate is known" in done.output
    as_json = json.loads(CliRunner().invoke(app, [*given, "--scan-rows-per-second", "30", "--json"]).output)
    assert [need["command"] for need in as_json["needs"]] == ["validate", "scan"]
    assert as_json["rates"]["validated"] == 2000
    with pytest.raises(ConfigurationError, match=r"no rates are known[\s\S]*reft plan --measure"):
        CliRunner().invoke(app, ["plan", "--rows", "100M"], catch_exceptions=False)
    Rates(validated=123, measured_on="a machine").save()
    assert "123 validated" in CliRunner().invoke(app, ["plan", "--rows", "5k"]).output


def test_a_rate_is_measured_in_bounded_time(tmp_path, tokenizer):
    path = write_jsonl(tmp_path / "rows.jsonl", [row(f"question {i} " + "word " * 20, "answer") for i in range(400)])
    judge = Judge(tokenizer=tokenizer, settings=ValidationSettings(), max_length=200)
    rate, size = rate_of_validation(path, Rules(judge=judge, columns=None, fix=False), 0.2)
    assert 50 < rate < 1_000_000
    assert size == pytest.approx(path.stat().st_size / 400)


@pytest.mark.slow
def test_the_command_measures_both_and_plans_with_them(tmp_path, monkeypatch, tiny_model):
    from tests.factories import build_scorer

    (tmp_path / "scorer").mkdir()
    teacher = build_scorer(tmp_path / "scorer", tiny_model)
    monkeypatch.chdir(tmp_path)
    path = write_jsonl(tmp_path / "rows.jsonl", [row(f"question {i}", "answer") for i in range(200)])
    profile = {"parameters": {"settings": {"model": {"name": tiny_model}, "data": {"task_test": None}}}}
    (tmp_path / "run.yaml").write_text(json.dumps(profile))
    command = ["plan", "--measure", "--data", str(path), "--seconds", "0.3", "--config", "run.yaml"]
    done = CliRunner().invoke(app, [*command, "--teacher", str(teacher), "--rows", "1M"])
    assert done.exit_code == 0, done.output
    rates = Rates.load(tmp_path / ".reft" / "rates.json")
    assert rates.validated > 0
    assert rates.scanned
    assert "scan  " in done.output
