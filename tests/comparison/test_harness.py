"""EleutherAI's harness on our tasks says of a model, row by row, what our own evaluation says."""

import json
from pathlib import Path

import pytest

from reft.comparison.grid import Grid
from reft.comparison.harness_format import write_harness, write_tasks
from reft.config import Settings
from reft.conversations.reading import read_conversations
from reft.evaluation.evaluate import same_answer
from reft.evaluation.generation import generate
from reft.judges.compliance_classifier import RefusalMatcher
from reft.judges.refusal_matcher import complies, is_gibberish, is_refusal
from reft.models.loading import load_model, load_tokenizer

ROWS, TOKENS = 12, 16
OURS = {
    "reft_task": ("exact_match", lambda answer, row: same_answer(answer, row.answer)),
    "reft_harmful": ("harmful_score", lambda answer, _: complies(answer)),
    "reft_lookalikes": ("refused", lambda answer, _: is_refusal(answer)),
    "reft_ordinary": ("coherence", lambda answer, _: not is_gibberish(answer)),
}


def test_the_harness_agrees_row_by_row(tiny_model):
    harness = pytest.importorskip("lm_eval", reason="the extra harness is not installed")
    from lm_eval.tasks import TaskManager

    found = harness.simple_evaluate(
        model="hf", model_args={"pretrained": tiny_model, "dtype": "float32"}, tasks=["reft"], limit=ROWS,
        task_manager=TaskManager(include_path="benchmarks/harness"), apply_chat_template=True, device="cpu",
        batch_size=4, bootstrap_iters=0,
    )  # fmt: skip
    data = Settings().data
    files = (data.task_test, data.evaluation_harmful, data.evaluation_lookalikes, data.evaluation_ordinary)
    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    for (task, (metric, judge)), file in zip(OURS.items(), files, strict=True):
        rows = read_conversations(str(file))[:ROWS]
        answers = generate(model, tokenizer, rows, max_new_tokens=TOKENS)
        theirs = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
        assert [s["filtered_resps"][0].strip() for s in theirs] == answers, task
        assert [float(s[metric]) for s in theirs] == [
            float(judge(answer, row)) for answer, row in zip(answers, rows, strict=True)
        ]


def test_others_can_ask_a_kept_adapter_the_very_questions(small, tmp_path):
    harness = pytest.importorskip("lm_eval", reason="the extra harness is not installed")
    from lm_eval.tasks import TaskManager

    chosen = small.model_copy(update={"methods": ["sft"], "filtered": [False], "ablations": {}, "keep_adapters": True})
    grid = Grid(chosen, tmp_path / "out")
    judged = grid.judged(grid.run(), [RefusalMatcher()])
    write_harness(tmp_path / "ours", judged)
    write_tasks(tmp_path / "tasks", judged)
    ours = json.loads(next((tmp_path / "ours").glob("*/results_*.json")).read_text())["results"]
    found = harness.simple_evaluate(
        model="hf",
        model_args={"pretrained": judged[0]["start"], "peft": judged[0]["adapter"], "dtype": "float32"},
        tasks=list(ours),
        task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
        apply_chat_template=True, device="cpu", batch_size=4, bootstrap_iters=0,
    )  # fmt: skip
    assert set(ours) == set(OURS)
    for task, scores in ours.items():
        assert len(found["samples"][task]) == scores["sample_len"]
        for metric, value in scores.items():
            if metric.endswith(",none") and "stderr" not in metric:
                assert found["results"][task][metric] == pytest.approx(value), (task, metric)


def test_every_task_is_in_the_group():
    folder = Path("benchmarks/harness")
    assert {path.stem for path in folder.glob("reft_*.yaml")} == set(OURS)
