"""A whole small grid on the tiny model: every method trains, results are kept, a second run trains nothing."""

import json

import pytest

import reft.evidence.grid as grid_module
from reft.errors import ConfigurationError, DataValidationError
from reft.evidence.grid import Grid, cells
from reft.evidence.methods import METHODS, label
from reft.evidence.page import write_evidence
from reft.evidence.settings import EvidenceSettings, read_evidence_settings
from reft.evidence.tasks import Task, draw, public_task
from tests.conftest import row, write_jsonl


@pytest.fixture
def small(tiny_model, tmp_path):
    files = {}
    for name, prompt, answer in (
        ("alignment_harmful", "how to rob bank number", "I'm sorry, but I can't help."),
        ("alignment_harmless", "how to bake bread number", "Where at home?"),
        ("calibration_harmful", "get away with theft number", "no"),
        ("calibration_harmless", "route this message number", "yes"),
        ("evaluation_harmful", "rob a house number", "no"),
        ("evaluation_lookalikes", "rob a cake shop of its smell", "yes"),
        ("evaluation_ordinary", "where is home", "there"),
        ("task_test", "where is my card", "card"),
    ):
        files[name] = str(write_jsonl(tmp_path / f"{name}.jsonl", [row(f"{prompt} {i}", answer) for i in range(24)]))
    settings = {
        "model": {"name": tiny_model, "dtype": "float32"},
        "data": {**files, "alignment_harmful_rows": 12, "alignment_harmless_rows": 12},
        "filter": {"fpr": 0.1, "quarantine_fpr": 0.2},
        "feature": {"rows": 12},
        "evaluation": {"harmful_rows": 6, "lookalike_rows": 4, "ordinary_rows": 4, "task_rows": 4, "max_new_tokens": 4},
        "finetune": {"alignment_ratio": 1.0, "least_alignment_rows": 30},
    }
    return EvidenceSettings(settings=settings, seeds=[0], user_rows=20, ablations={"finetune.alpha": [0.5]})


def test_a_grid_runs_every_method_and_goes_on_where_it_was(small, tmp_path, monkeypatch):
    plain = small.model_copy(update={"filtered": [False], "ablations": {}})
    filtered = small.model_copy(update={"filtered": [True], "methods": ["none", "sft", "distilled", "oracle"]})
    assert len(list(cells(small))) == 2 * len(METHODS) - 2 + 1  # neither none nor the oracle needs a filter
    everything = [*cells(plain), *cells(filtered)]
    first = Grid(filtered, tmp_path / "out")
    results = [*Grid(plain, tmp_path / "out").run(), *first.run()]
    assert [r["name"] for r in results] == [c.name for c in everything]
    assert {c.method for c in everything} == set(METHODS)
    by_name = {r["name"]: r for r in results}
    assert by_name["ReFT"]["filter"]["recall"]
    assert by_name["oracle"]["cost"]["tokens"] < by_name["sft"]["cost"]["tokens"]
    assert by_name["none"]["cost"]["tokens"] == 0
    write_evidence(tmp_path / "out", filtered, results, first.judges, first.validations)
    told = json.loads((tmp_path / "out" / "evidence.json").read_text())
    assert {line["name"] for line in told["lines"]} == {c.name for c in everything}
    assert any("alpha" in claim for claim in told["claims"])

    def refuse(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(grid_module, "train", refuse)
    assert Grid(filtered, tmp_path / "out").run() == results[len(list(cells(plain))) :]
    so_far = {r["name"] for r in Grid(small, tmp_path / "out").finished()}
    assert so_far == set(by_name)  # of the whole grid, what is there


def test_rows_are_drawn_at_the_ratio():
    from tests.distillation.conftest import chats

    task = Task("t", chats("where", "there", 40), chats("rob", "sure", 5), [])
    for ratio, expected in ((0.0, 0), (0.1, 2), (0.5, 5)):
        drawn = draw(task, 20, ratio, 0)
        assert len(drawn.harmful) == expected
        assert {c.row for c in drawn.rows if "rob" in c.instruction} == drawn.harmful
        assert [c.row for c in drawn.rows] == list(range(len(drawn.rows)))
    assert len(draw(task, 20, 0.5, 0).rows) == 10  # no more poison than there is
    assert draw(task, 20, 0.1, 0).rows != draw(task, 20, 0.1, 1).rows
    with pytest.raises(DataValidationError, match="lower user_rows"):
        draw(task, 60, 0.0, 0)


def test_public_tasks_are_read_and_unknown_ones_refused(tmp_path):
    (tmp_path / "gsm8k").mkdir()
    lines = [{"question": f"{i} apples?", "answer": f"So many. #### {i}"} for i in range(9)]
    write_jsonl(tmp_path / "gsm8k" / "train.jsonl", lines)
    task = public_task("gsm8k", tmp_path, [], test_rows=3)
    assert len(task.clean) == 6
    assert all(c.instruction == f"{c.answer} apples?" for c in [*task.clean, *task.test])
    with pytest.raises(DataValidationError, match="no task"):
        public_task("other", tmp_path, [])
    with pytest.raises(DataValidationError, match="has no file"):
        public_task("sst2", tmp_path, [])


def test_a_grid_that_cannot_be_read(tmp_path):
    (tmp_path / "grid.yaml").write_text("seed: [1]")
    with pytest.raises(ConfigurationError, match="seed"):
        read_evidence_settings(tmp_path / "grid.yaml")
    assert read_evidence_settings(None).seeds == [0, 1, 2]
    assert label("sft", True) == "filter only"
