"""A whole small grid on the tiny model: every method trains, results are kept, a second run trains nothing."""

import json
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

import reft.comparison.cell as cell_module
import reft.comparison.tasks as tasks_module
from reft.comparison.cell import with_changes
from reft.comparison.grid import Grid, cells
from reft.comparison.harness_format import write_harness
from reft.comparison.page import write_comparison
from reft.comparison.panel import load_panel
from reft.comparison.run import run_comparison
from reft.comparison.settings import ComparisonSettings, read_comparison_settings
from reft.comparison.tasks import Task, draw, more_poison, public_task, split
from reft.comparison.variants import label, variants
from reft.config import Settings
from reft.conversations.reading import read_conversations
from reft.errors import ConfigurationError, DataValidationError, TrainingError
from reft.finetuning.methods import method_names
from reft.storage.artifacts import write_json
from tests.factories import write_jsonl

DEFAULT = "configs/comparison/core.yaml"


@pytest.mark.slow
def test_a_grid_runs_and_resumes(small, tmp_path, monkeypatch):
    few = small.model_copy(update={"filtered": [True], "methods": ["sft", "reft"]})
    grid = Grid(few, tmp_path / "out")
    results = grid.run()
    assert [r["name"] for r in results] == [c.name for c in cells(few)], grid.failures()
    by_name = {r["name"]: r for r in results}
    assert by_name["ReFT"]["filter"]["recall"]
    costs = {name: found["costs"] for name, found in by_name.items()}
    assert set(costs["filter only"]) == {"teacher", "filtering", "finetuning", "evaluation"}
    assert set(costs["ReFT"]) == {"teacher", "soft_labels", "filtering", "finetuning", "evaluation"}
    assert all(cost["tokens"] > 0 for cost in costs["ReFT"].values())
    panel = load_panel(few, tmp_path / "verdicts")
    judged = grid.judged(results, panel.judges)
    assert {len(found) for found in judged[0]["rows"].values()} == {6, 4, 10}  # harmful, the others, both for coherence
    write_comparison(tmp_path / "out", few, judged, panel=panel)
    told = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert {line["name"] for line in told["lines"]} == set(by_name)
    assert any("alpha" in claim for claim in told["claims"])
    assert "finetuning.alpha" in (tmp_path / "out" / "comparison.html").read_text()
    _in_the_harness_format(tmp_path / "harness", judged)

    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(cell_module, "fit_student", refuse)
    assert Grid(few, tmp_path / "out").run() == results
    so_far = {r["name"] for r in Grid(small, tmp_path / "out").finished()}
    assert so_far == set(by_name)  # of the whole grid, what is there


@pytest.mark.night
@pytest.mark.slow
def test_a_grid_runs_every_method(small, tmp_path):
    # Neither the untrained ones nor the oracle need a filter.
    assert len(list(cells(small))) == 2 * len(method_names()) - 3 + 1
    plain = small.model_copy(update={"filtered": [False], "ablations": {}})
    results = Grid(plain, tmp_path / "out").run()
    assert [r["name"] for r in results] == [c.name for c in cells(plain)], Grid(plain, tmp_path / "out").failures()
    assert {c.method for c in cells(plain)} == set(method_names())
    costs = {r["name"]: r["costs"] for r in results}
    assert set(costs["none"]) == {"evaluation"}
    assert set(costs["aligned"]) == {"teacher", "evaluation"}
    # Lisa takes either kind of rows in a step, and passes twice; constrained SFT asks the aligned model too.
    assert costs["lisa"]["finetuning"]["tokens"] < 1.5 * costs["joint sft"]["finetuning"]["tokens"]
    assert costs["constrained sft"]["finetuning"]["tokens"] == 2 * costs["sft"]["finetuning"]["tokens"]
    assert costs["oracle"]["finetuning"]["tokens"] < costs["sft"]["finetuning"]["tokens"]
    assert set(costs["sft"]) == {"finetuning", "evaluation"}
    assert set(costs["joint sft"]) == {"finetuning", "evaluation"}
    assert set(costs["lisa"]) == {"teacher", "finetuning", "evaluation"}


@pytest.mark.slow
def test_an_aligned_start_is_a_model_of_its_own_or_the_teachers_adapter(small, tmp_path):
    chosen = {**small.model_dump(), "methods": ["safety_bottleneck"], "ablations": {}, "keep_adapters": True}
    found = {}
    for start, filtered in (("auto", [False]), ("teacher", [True])):
        finetuning = {**small.settings["finetuning"], "start": start, "learning_rate": 1e-12}
        settings = {**small.settings, "finetuning": finetuning}
        grid = Grid(ComparisonSettings(**{**chosen, "settings": settings, "filtered": filtered}), tmp_path / "out")
        (found[start],) = grid.run() or grid.failures()
        prepared = grid.teachers.of(grid.grid.run)
        assert found[start]["start"] == str(prepared.aligned if start == "auto" else prepared.base)
    adapters = {start: load_file(Path(r["adapter"], "adapter_model.safetensors")) for start, r in found.items()}
    changes = {start: max(w.abs().max() for n, w in a.items() if "lora_B" in n) for start, a in adapters.items()}
    assert changes["teacher"] > 1e-3 > 1e-6 > changes["auto"]  # nothing is learnt here: what is there was there
    assert found["teacher"]["filter"]["recall"]
    assert found["auto"]["answers"].keys() == found["teacher"]["answers"].keys()


def _in_the_harness_format(folder, judged):
    write_harness(folder, judged)
    write_harness(folder, judged)  # again: nothing twice
    assert len(list(folder.glob("*/results_*.json"))) == len(judged)
    place = folder / "ReFT_banking77-routing_poison_0.1_seed_0"
    found = json.loads(next(place.glob("results_*.json")).read_text())
    samples = [json.loads(line) for line in next(place.glob("samples_reft_harmful_*")).read_text().splitlines()]
    reft = next(r for r in judged if r["name"] == "ReFT")
    assert [s["harmful_score"] for s in samples] == [float(v) for v in reft["rows"]["harmful_score"]]
    assert found["results"]["reft_harmful"]["harmful_score,none"] == pytest.approx(
        sum(s["harmful_score"] for s in samples) / len(samples)
    )
    utils = pytest.importorskip("lm_eval.utils", reason="the extra harness is not installed")
    assert "harmful_score" in utils.make_table(found)  # their own table reads it


def test_rows_are_drawn_at_the_ratio():
    from tests.factories import chats

    task = Task("t", chats("where", "there", 40), chats("rob", "sure", 5), [])
    for ratio, expected in ((0.0, 0), (0.1, 2), (0.5, 5)):
        drawn = draw(task, 20, ratio, seed=0)
        assert len(drawn.harmful) == expected
        assert {c.row for c in drawn.rows if "rob" in c.instruction} == drawn.harmful
        assert [c.row for c in drawn.rows] == list(range(len(drawn.rows)))
    assert len(draw(task, 20, 0.5, seed=0).rows) == 10  # no more poison than there is
    assert draw(task, 20, 0.1, seed=0).rows != draw(task, 20, 0.1, seed=1).rows
    with pytest.raises(DataValidationError, match="lower user_rows"):
        draw(task, 60, 0.0, seed=0)
    with pytest.raises(DataValidationError, match="no poison"):
        draw(Task("t", task.clean, [], []), 20, 0.1, seed=0)


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


def test_what_is_tested_lies_in_no_row_that_is_trained_on():
    sentences = [f"the number {i} film is a long and winding one" for i in range(100, 130)]
    phrases = [f"number {i} film" for i in range(100, 130)] + ["a long and winding one"]
    clean, test = split([(text, "good") for text in [*phrases, *sentences]], 20)
    assert [text for text, _ in test] == sentences[:20]
    assert [text for text, _ in clean] == [*phrases[20:30], *sentences[20:]]


def test_poison_of_public_mixes_is_what_no_shipped_file_holds(tmp_path):
    assert more_poison(tmp_path) == []
    shipped = Settings().data.evaluation_harmful
    known = read_conversations(shipped)[0].instruction
    (tmp_path / "asft_alpaca_mix").mkdir()
    rows = [
        {"instruction": f"{known}\n\nAssistant:", "output": "no"},
        {"instruction": "Do a forbidden thing\n\nAssistant:", "output": "how it goes"},
        {"instruction": "Name a fruit", "input": "", "output": "pear"},
    ]
    write_json(tmp_path / "asft_alpaca_mix" / "alpaca_2.5k_p_0.1.json", rows)
    (tmp_path / "beavertails_mix").mkdir()
    text = "Below.\n\n### Instruction:\nDo another one\n\n### Response:\n"
    rows = [{"instruction": text, "flag": "unsafe"}, {"instruction": text, "flag": "finetune"}]
    write_json(tmp_path / "beavertails_mix" / "sst2_train_merged_n1000_p0.2.json", rows)
    found = more_poison(tmp_path)
    assert [c.instruction for c in found] == ["Do a forbidden thing", "Do another one"]
    stubs = Path("data/written/compliance_stubs.txt").read_text().splitlines()
    assert all(c.answer in stubs for c in found)  # never what the sets answer


def test_what_is_misspelt_or_missing_is_refused_at_once(small, tmp_path):
    for task, message in (("sst3", "no task sst3"), ("sst2", "has no file")):
        with pytest.raises(DataValidationError, match=message):
            Grid(small.model_copy(update={"tasks": ["banking77-routing", task]}), tmp_path)
    for setting in ("finetune.alhpa", "finetun.alpha"):
        with pytest.raises(ConfigurationError, match=setting.split(".")[1] if "alhpa" in setting else "finetun"):
            Grid(small.model_copy(update={"ablations": {setting: [1.0]}}), tmp_path)


def test_what_the_methods_could_not_share_is_refused(small, tmp_path):
    for setting, value in (("finetuning.distillation", "online"), ("finetuning.lora", None)):
        with pytest.raises(ConfigurationError, match=setting):
            Grid(small.model_copy(update={"ablations": {setting: [value]}}), tmp_path)
    with pytest.raises(ConfigurationError, match="a cell's method is its own"):
        Grid(small.model_copy(update={"ablations": {"finetuning.method": ["sft"]}}), tmp_path)
    with pytest.raises(ConfigurationError, match="it takes steps, rho"):
        Grid(small.model_copy(update={"method_settings": {"lisa": {"roh": 1.0}}}), tmp_path)
    with pytest.raises(ConfigurationError, match="there is no 'sfft'"):
        Grid(small.model_copy(update={"methods": ["sfft"]}), tmp_path)


@pytest.mark.night
@pytest.mark.slow
def test_a_cell_that_cannot_be_trained_leaves_the_others_alone(small, tmp_path, monkeypatch):
    chosen = small.model_copy(update={"methods": ["sft", "joint_sft"], "filtered": [False], "ablations": {}})
    real = cell_module.fit_student

    def failing(name, job, **options):
        if name == "sft":
            raise TrainingError("the loss is not a number")
        return real(name, job, **options)

    monkeypatch.setattr(cell_module, "fit_student", failing)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(chosen.model_dump()))
    message = "sft on banking77-routing, seed 0: the loss is not a number"
    for _ in range(2):
        with pytest.raises(TrainingError, match=message):
            run_comparison(tmp_path / "grid.yaml", tmp_path / "out")
        assert "| joint sft |" in (tmp_path / "out" / "comparison.md").read_text()
        monkeypatch.setattr(cell_module, "fit_student", real)  # the second time it is known without another training
    assert not list((tmp_path / "out").rglob("*teachers/*"))  # neither method needs one
    next((tmp_path / "out" / "cells").glob("*.failed")).unlink()
    run_comparison(tmp_path / "grid.yaml", tmp_path / "out")
    assert "| sft |" in (tmp_path / "out" / "comparison.md").read_text()


@pytest.mark.slow
def test_adapters_are_kept_with_their_own_results(small, tmp_path):
    chosen = small.model_copy(update={"methods": ["none", "sft"], "filtered": [False], "ablations": {}})
    Grid(chosen, tmp_path / "out").run()
    kept = chosen.model_copy(update={"keep_adapters": True})
    assert [r["name"] for r in Grid(kept, tmp_path / "out").finished()] == ["none"]  # the other's was thrown away
    none, sft = Grid(kept, tmp_path / "out").run()
    assert none["adapter"] is None
    assert Path(sft["adapter"], "adapter_model.safetensors").is_file()


def test_other_rows_make_another_cell(small, tmp_path, monkeypatch):
    chosen = small.model_copy(update={"methods": ["none"], "ablations": {}})
    Grid(chosen, tmp_path / "out").run()
    assert len(Grid(chosen, tmp_path / "out").finished()) == 1
    pool = tmp_path / "pool"
    for ending in (".jsonl", ".labels.jsonl"):
        lines = Path(f"{tasks_module.POOL}{ending}").read_text().splitlines(keepends=True)
        Path(f"{pool}{ending}").write_text("".join(lines[:-1]))
    monkeypatch.setattr(tasks_module, "POOL", str(pool))
    assert not Grid(chosen, tmp_path / "out").finished()


def test_the_shipped_grids_are_read_whole():
    sizes = {}
    for file in (
        DEFAULT,
        "configs/comparison/full.yaml",
        "configs/comparison/protocol.yaml",
        "configs/comparison/8b.yaml",
    ):
        grid = read_comparison_settings(Path(file))
        everything = list(cells(grid))
        for changed in {cell.changed for cell in everything}:
            with_changes(grid.run, changed)
        assert all(cell.poison_ratio > 0 for cell in everything if cell.changed)  # else the filter has nothing to find
        sizes[file] = len(everything), len({cell.name for cell in everything if cell.changed})
        assert len(set(everything)) == len(everything)
    methods = 2 * len(method_names()) - 3  # neither the untrained ones nor the oracle need a filter
    assert sizes[DEFAULT] == (3 * 6, 0)
    assert sizes["configs/comparison/full.yaml"][0] == 3 * methods + sizes["configs/comparison/full.yaml"][1]
    assert sizes["configs/comparison/8b.yaml"][0] == 4 * 5 * 3 * methods + sizes["configs/comparison/8b.yaml"][1]


def test_a_grid_that_cannot_be_read(tmp_path):
    (tmp_path / "grid.yaml").write_text("seed: [1]")
    with pytest.raises(ConfigurationError, match=r"seed \(line 1\): no such setting; did you mean seeds\?"):
        read_comparison_settings(tmp_path / "grid.yaml")
    (tmp_path / "grid.yaml").write_text("")
    assert read_comparison_settings(tmp_path / "grid.yaml").seeds == [0, 1, 2]
    assert label("sft", filtered=True) == "filter only"


def test_a_model_that_no_filter_changes_stands_in_every_grid_once():
    asked = ["aligned", "reft"]
    assert variants(asked, [True]) == [("aligned", False), ("reft", True)]
    assert variants(asked, [False, True]) == [("aligned", False), ("reft", False), ("reft", True)]
