"""EleutherAI's harness on our tasks says of a model, row by row, what our own evaluation says."""

import json

import pytest

from reft.comparison.grid import Grid
from reft.comparison.harness_format import write_harness, write_questions
from reft.comparison.harness_tasks import harness_tasks, measures_of, write_tasks
from reft.config import Settings
from reft.evaluation.generation import generate
from reft.evaluation.questions import all_questions
from reft.models.loading import load_model, load_tokenizer

ROWS, TOKENS = 12, 16


@pytest.mark.slow
def test_the_harness_agrees_row_by_row(tiny_model, tmp_path):
    harness = pytest.importorskip("lm_eval", reason="the extra harness is not installed")
    from lm_eval.tasks import TaskManager

    questions = all_questions(Settings().data)
    tasks = harness_tasks(questions, max_new_tokens=TOKENS)
    write_tasks(tmp_path, tasks)
    found = harness.simple_evaluate(
        model="hf", model_args={"pretrained": tiny_model, "dtype": "float32"}, tasks=["reft"], limit=ROWS,
        task_manager=TaskManager(include_path=str(tmp_path)), apply_chat_template=True, device="cpu",
        batch_size=4, bootstrap_iters=0,
    )  # fmt: skip
    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    assert {task.group for task in tasks} == set(vars(questions))
    for task in tasks:
        rows = task.rows[:ROWS]
        answers = generate(model, tokenizer, rows, max_new_tokens=TOKENS)
        theirs = sorted(found["samples"][task.name], key=lambda sample: sample["doc_id"])
        assert [s["filtered_resps"][0].strip() for s in theirs] == answers, task.name
        for measure in measures_of(task.group):
            ours = [float(measure.happened(row, answer)) for row, answer in zip(rows, answers, strict=True)]
            assert [float(sample[measure.name]) for sample in theirs] == ours, (task.name, measure.name)


@pytest.mark.slow
def test_others_can_ask_a_kept_adapter_the_very_questions(small, tmp_path):
    harness = pytest.importorskip("lm_eval", reason="the extra harness is not installed")
    from lm_eval.tasks import TaskManager

    chosen = small.model_copy(update={"methods": ["sft"], "filtered": [False], "ablations": {}, "keep_adapters": True})
    grid = Grid(chosen, tmp_path / "out")
    judged = grid.judged(grid.run(), [])
    write_harness(tmp_path / "ours", judged)
    write_questions(tmp_path / "tasks", judged)
    ours = json.loads(next((tmp_path / "ours").glob("*/results_*.json")).read_text())["results"]
    found = harness.simple_evaluate(
        model="hf",
        model_args={"pretrained": judged[0]["start"], "peft": judged[0]["adapter"], "dtype": "float32"},
        tasks=list(ours),
        task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
        apply_chat_template=True, device="cpu", batch_size=4, bootstrap_iters=0,
    )  # fmt: skip
    assert set(ours) == {"reft_task", "reft_harmful", "reft_lookalikes", "reft_ordinary"}
    for task, scores in ours.items():
        assert len(found["samples"][task]) == scores["sample_len"]
        for metric, value in scores.items():
            if metric.endswith(",none") and "stderr" not in metric:
                assert found["results"][task][metric] == pytest.approx(value), (task, metric)
