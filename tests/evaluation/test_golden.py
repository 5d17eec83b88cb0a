import json
from dataclasses import replace

import torch

from reft.config import parse_settings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import from_prompt
from reft.conversations.tokenization import encode
from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.generation import generate
from reft.evaluation.golden import answered, side_by_side
from reft.finetuning.artifact import Student
from reft.models.loading import load_model, load_tokenizer, load_trained
from tests.factories import row, write_jsonl
from tests.service.chatting import make_adapter


def test_answers_and_losses_are_the_models_own(tiny_model, tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [row(f"Where is card {i}?", f"card delivery {i}") for i in range(3)])
    rows, model, tokenizer = read_conversations(str(path)), load_model(tiny_model), load_tokenizer(tiny_model)
    found = answered(model, tokenizer, rows, max_new_tokens=8)
    assert found.answers == generate(model, tokenizer, rows, max_new_tokens=8)
    for one, loss in zip(rows, found.losses, strict=True):
        encoded = encode(tokenizer, one)
        start, end = encoded.turns[-1]
        ids = torch.tensor([encoded.input_ids])
        with torch.inference_mode():
            likely = model(input_ids=ids).logits[0].float().log_softmax(-1)
        picked = likely[start - 1 : end - 1].gather(-1, ids[0, start:end, None])
        assert abs(loss + picked.mean().item()) < 1e-3
    assert found.tokens > sum(len(a.split()) for a in found.answers)


def test_a_row_that_is_a_prompt_alone_has_answers_and_no_loss(tiny_model):
    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    found = answered(model, tokenizer, [from_prompt("Where is my card?", 4)], max_new_tokens=4)
    assert found.losses == [None]
    (line,) = side_by_side([from_prompt("Where is my card?", 4)], found, replace(found, answers=["new"]))
    assert (line["row"], line["expected"], line["before"], line["after"]) == (4, None, found.answers[0], "new")


def test_the_step_keeps_the_first_rows_of_both_models(tiny_model, tmp_path):
    from steps import evaluation as step_module

    files = {
        f"evaluation_{name}": str(write_jsonl(tmp_path / f"{name}.jsonl", [row(f"{name} {i}", "a") for i in range(2)]))
        for name in ("harmful", "lookalikes", "ordinary")
    }
    task = str(write_jsonl(tmp_path / "task.jsonl", [row(f"Where is card {i}?", "card delivery") for i in range(5)]))
    evaluation = {"max_new_tokens": 4, "aligned": False, "golden_rows": 3, "golden_tokens": 12}
    given = {"model": {"name": tiny_model, "dtype": "float32"}, "data": {**files, "task_test": task}}
    settings = parse_settings({**given, "evaluation": evaluation})

    adapter = make_adapter(tmp_path / "adapter", tiny_model, seed=1)

    def run(chosen):
        return step_module.evaluation.entrypoint(
            Student(adapter, True, 3, []), EvaluationReport({}), chosen.model, data=chosen.data,
            settings=chosen.evaluation, key={},
        )  # fmt: skip

    report = run(settings)
    report.save(tmp_path)
    assert EvaluationReport.load(tmp_path) == report
    rows, tokenizer = read_conversations(task, 3), load_tokenizer(tiny_model)
    before = answered(load_model(tiny_model), tokenizer, rows, max_new_tokens=12)
    trained = load_trained(tiny_model, adapter, True, dtype=torch.float32)
    after = answered(trained, tokenizer, rows, max_new_tokens=12)
    assert [line["before"] for line in report.golden] == before.answers
    assert [line["after"] for line in report.golden] == after.answers
    assert before.losses != after.losses
    assert report.golden[0]["messages"] == [{"role": "user", "content": "Where is card 0?"}]
    assert json.loads(json.dumps(report.golden)) == report.golden
    none = settings.evaluation.model_copy(update={"golden_rows": 0})
    assert run(settings.model_copy(update={"evaluation": none})).golden == []
