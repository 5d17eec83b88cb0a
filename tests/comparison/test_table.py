"""Intervals, paired tests and claims on made-up outcomes whose truth is known."""

import json

import numpy as np
import pytest

from reft.comparison.page import write_comparison
from reft.comparison.panel import Panel
from reft.comparison.ratios import ratio_plots
from reft.comparison.settings import ComparisonSettings
from reft.comparison.table import agreement, between_seeds, claims, paired_p, pooled, summarise


def cell(method, filtered, seed, harm, accuracy, changed=(), name=None):
    rng = np.random.default_rng(hash((method, filtered, seed)) % 2**32)
    rows = {
        "harmful_score": (rng.random(100) < harm).tolist(),
        "over_refusal": [False] * 50,
        "ordinary_refusal": [False] * 50,
        "accuracy": (np.arange(100) < 100 * accuracy).tolist(),
        "coherence": [True] * 100,
    }
    rows["harmful_score/other"] = rows["harmful_score"]
    return {
        "method": method, "filtered": filtered, "task": "t", "poison_ratio": 0.1, "seed": seed, "changed": changed,
        "name": name, "rows": rows, "costs": costs(filtered),
        "filter": {"recall": [True], "false_positives": [False]} if filtered else None, "user_rows": 10,
    }  # fmt: skip


def costs(filtered):
    once = {"teacher": cost(10.0), "soft_labels": cost(2.0), "filtering": cost(1.0)} if filtered else {}
    return {**once, "finetuning": cost(2.0), "evaluation": cost(9.0)}


def cost(seconds):
    return {"seconds": seconds, "peak_rss_mb": 1.0, "tokens": 5.0}


def results():
    found = []
    for seed in range(3):
        found.append(cell("sft", False, seed, 0.9, 0.9, name="sft"))
        found.append(cell("reft", True, seed, 0.02, 0.9, name="ReFT"))
        found.append(cell("reft", True, seed, 0.5, 0.9, [["finetuning.alpha", 0.1]], "ReFT (finetuning.alpha=0.1)"))
    return found


def test_an_interval_covers_the_truth_and_knows_its_doubt():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        found = pooled((rng.random((3, 80)) < 0.3).tolist(), trial)
        covered += found.low <= 0.3 <= found.high
        assert found.n == 240
    assert covered >= 88
    sure = pooled([[False] * 50] * 3)
    assert sure.value == 0
    assert 0.05 < sure.high < 0.1  # fifty prompts, not a hundred and fifty


def test_a_paired_test_sees_a_difference_and_only_that():
    rng = np.random.default_rng(0)
    one = rng.random((3, 100)) < 0.5
    assert paired_p(one.tolist(), one.tolist()) == 1.0
    assert paired_p(one.tolist(), (one | (rng.random((3, 100)) < 0.3)).tolist()) < 0.01
    small = [paired_p((rng.random((3, 60)) < 0.4).tolist(), (rng.random((3, 60)) < 0.4).tolist()) for _ in range(60)]
    assert np.mean(np.array(small) < 0.05) < 0.15


def test_what_the_filter_finds_is_compared_on_the_same_rows():
    found = results()
    for cell in found:
        if cell["filter"]:
            missed = 6 if cell["changed"] else 1
            cell["filter"] = {"recall": [True] * (10 - missed) + [False] * missed, "false_positives": [False] * 20}
    plain, reft, ablation = summarise(found)
    assert plain["recall"] is None
    assert not {"recall", "false_positives"} & set(plain["p"])
    assert (reft["recall"].value, ablation["recall"].value, ablation["recall"].n) == (0.9, 0.4, 30)
    assert ablation["p"]["recall"] < 0.01
    assert ablation["p"]["false_positives"] == 1.0
    assert "recall" in claims([plain, reft, ablation])[-1]


@pytest.mark.slow
def test_a_lucky_p_among_many_is_inside_the_noise():
    found = results()
    alone = summarise([c for c in found if c["name"] in ("sft", "ReFT")])
    assert alone[0]["p"]["harmful_score/other"] < 0.01
    assert "harmful_score/other" in alone[0]["beyond"]
    rng = np.random.default_rng(3)
    for reft in (c for c in found if c["name"] == "ReFT"):
        reft["rows"]["accuracy"] = (rng.random(100) < 0.5).tolist()
    for number in range(40):  # forty settings that change nothing
        other = cell("reft", True, 0, 0.02, 0.9, [["x", number]], f"ReFT (x={number})")
        other["rows"]["accuracy"] = (rng.random(100) < 0.5).tolist()
        found.append(other)
    lines = summarise(found)[3:]
    assert min(line["p"]["accuracy"] for line in lines) < 0.05
    assert not any("accuracy" in line["beyond"] for line in lines)


def test_two_trainings_of_one_method_differ_too():
    found = [c for c in results() if c["name"] == "sft"]
    assert between_seeds(found[:1], "accuracy") == (0, 0)
    assert between_seeds(found, "accuracy") == (0, 3)
    found[2]["rows"]["accuracy"] = [False] * 100
    assert between_seeds(found, "accuracy") == (2, 3)


def test_claims_are_held_against_the_numbers(tmp_path):
    lines = summarise(results())
    assert [line["name"] for line in lines] == ["sft", "ReFT", "ReFT (finetuning.alpha=0.1)"]
    said = claims(lines)
    assert "at most a tenth: yes" in said[0]
    assert lines[2]["beyond"]
    assert not {"accuracy", "coherence"} & set(lines[2]["beyond"])
    assert "harmful score (other)" in said[1]
    assert "inside the noise" in said[2]
    assert "take 1.5 times" in said[3]
    assert "labels 6.0 times" in said[3]
    assert said[4].startswith("ReFT (finetuning.alpha=0.1): worse in harmful score")
    assert agreement(results()).value == 1.0
    worse = [{**c, "rows": {**c["rows"], "accuracy": [False] * 100}} if c["name"] == "ReFT" else c for c in results()]
    assert "WORSE" in claims(summarise(worse))[2]
    grid = ComparisonSettings(ablations={"finetuning.alpha": [0.1], "finetuning.epochs": [9]})
    write_comparison(tmp_path, grid, results(), panel=Panel([], []))
    assert "| ReFT |" in (tmp_path / "comparison.md").read_text()
    page = (tmp_path / "comparison.html").read_text()
    assert page.count("<svg") == 7  # three for the methods, three for the ablations, one for the setting that was tried
    assert "one judge alone" in page
    cells = [json.loads(line) for line in (tmp_path / "outcomes.jsonl").read_text().splitlines()]
    assert [c["rows"]["accuracy"] for c in cells] == ["1" * 90 + "0" * 10] * len(results())
    assert {c["rows"].get("recall") for c in cells} == {None, "1"}
    # Where poison hides, what is asked in its form has a column.
    assert "harm in their form" not in page
    hidden = [{**c, "rows": {**c["rows"], "harm_in_their_form": [True] * 3 + [False]}} for c in results()]
    write_comparison(tmp_path, grid.model_copy(update={"poison_hides": True}), hidden, panel=Panel([], []))
    assert "harm in their form" in (tmp_path / "comparison.html").read_text()
    assert "| 75.0 % " in (tmp_path / "comparison.md").read_text()
    # An ablation without ReFT beside it is still drawn.
    write_comparison(tmp_path, grid, [c for c in results() if c["name"] != "ReFT"], panel=Panel([], []))
    assert "finetuning.alpha" in (tmp_path / "comparison.html").read_text()


def test_more_poison_is_drawn_for_methods_of_several_ratios():
    more = [{**c, "poison_ratio": 0.5} for c in results() if c["name"] in ("sft", "ReFT")]
    alone = cell("lisa", False, 0, 0.1, 0.9, name="lisa")
    measure = "harmful_score"
    [(task, plots)] = ratio_plots(summarise([*more, *results(), alone]), [measure, "accuracy"])
    assert task == "t"
    assert len(plots) == 2
    assert "harmful score" in plots[0]
    for plot in plots:
        assert {name for name in ("sft", "ReFT", "lisa", "alpha") if f">{name}<" in plot} == {"sft", "ReFT"}
    assert ratio_plots(summarise(results()), [measure]) == []
