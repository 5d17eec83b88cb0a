"""Coherence means language: word salad and loops are none, whatever the number of different words."""

from pathlib import Path

import pytest
import torch

from benchmarks.coherence import randomised, shuffled
from reft.config import GateSettings, Settings, parse_settings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation, Message, from_prompt
from reft.conversations.tokenization import encode_prompts, encode_text
from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.evaluate import evaluate_model
from reft.evaluation.language import LEAST_LIKELY, LanguageModel, Likelihood
from reft.evaluation.measures import outcomes
from reft.evaluation.questions import EvaluationSets
from reft.finetuning.artifact import Student
from reft.gate.gate import Case, judge
from reft.models.default_model import cache_folder
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer
from tests.factories import row, write_jsonl

MANY = tuple(range(16))


def test_an_answer_is_language_where_it_is_likely_after_its_question_or_in_itself():
    likely, unlikely = LEAST_LIKELY + 0.1, LEAST_LIKELY - 0.1
    assert Likelihood(MANY, likely, unlikely).is_language
    assert Likelihood(MANY, unlikely, likely).is_language
    assert not Likelihood(MANY, unlikely, unlikely).is_language


def test_a_label_of_few_tokens_and_an_empty_answer_are_not_judged_by_likelihood():
    assert Likelihood((1, 2), -12.0, -12.0).is_language
    assert Likelihood((1,), -12.0, None).is_language
    assert Likelihood((), None, None).is_language


def test_one_thing_over_and_over_is_no_language_however_likely():
    assert not Likelihood((7,) * 16, -0.1, -0.1).is_language
    assert not Likelihood((7, 8, 9, 10) * 4, -0.1, -0.1).is_language
    assert Likelihood((7, 8, 9) * 2, -0.1, -0.1).is_language


def test_likelihoods_are_the_models_own_and_do_not_depend_on_the_batch(any_model):
    model, tokenizer = load_model(any_model), load_tokenizer(any_model)
    questions = [from_prompt("bake " * (i + 1), i) for i in range(5)]
    answers = ["bread at home", "", "é", "where is my card? " * 9, "rob a bank"]
    reader = LanguageModel(model, tokenizer)
    found = reader.likelihoods(questions, answers)
    for question, answer, likelihood in zip(questions, answers, found, strict=True):
        prompt = list(encode_prompts(tokenizer, [question])[0].input_ids)
        said = encode_text(tokenizer, answer)
        assert likelihood.tokens == tuple(said)
        assert likelihood.given == (_mean(model, prompt, said) if said else None)
        assert likelihood.alone == (_mean(model, said[:1], said[1:]) if said[1:] else None)
    assert reader(questions, answers) == [likelihood.is_language for likelihood in found]


def _mean(model, before, said):
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([before + said])).logits[0].log_softmax(-1)
    steps = range(len(before), len(before) + len(said))
    return pytest.approx(sum(float(logits[i - 1, t]) for i, t in zip(steps, said, strict=True)) / len(said), abs=1e-4)


def test_coherence_takes_words_and_language_and_knows_the_tasks_labels():
    asked = [from_prompt("p", i) for i in range(3)]
    task = [
        Conversation(row=0, messages=(Message(role="user", content="a"), Message(role="assistant", content="a label")))
    ]
    answers = {
        "harmful": ["A label.", "salad of words", "%% $$ ## 12"], "lookalikes": ["x"] * 3,
        "ordinary": ["To bake bread,"] * 3, "task": ["b"],
    }  # fmt: skip

    def reads(questions, said):
        assert list(questions) == asked + asked  # of the harmful and of the ordinary ones
        return ["bread" in answer or "%" in answer for answer in said]

    found = outcomes(EvaluationSets(asked, asked, asked, task), answers, is_language=reads)["coherence"]
    assert found == [True, False, False, True, True, True]
    assert outcomes(EvaluationSets(asked, asked, asked, task), answers)["coherence"] == [True, True, False, *[True] * 3]


def test_the_step_lets_the_base_model_read_everybodys_answers(tiny_model, tmp_path, monkeypatch):
    from steps import evaluation as step_module

    files = {
        f"evaluation_{name}": str(write_jsonl(tmp_path / f"{name}.jsonl", [row(f"{name} {i}", "a") for i in range(3)]))
        for name in ("harmful", "lookalikes", "ordinary")
    }
    changed = {"model": {"name": tiny_model, "dtype": "float32"}, "data": {**files, "task_test": ""}}
    settings = parse_settings({**changed, "evaluation": {"max_new_tokens": 8, "aligned": False}})
    student, read = Student(Path(tiny_model), False, 3, []), []

    class Reader(LanguageModel):
        def __call__(self, _questions, answers):
            read.append(len(answers))
            return [False] * len(answers)

    monkeypatch.setattr(step_module, "LanguageModel", Reader)
    report = step_module.evaluation.entrypoint(
        student,
        EvaluationReport({}),
        settings.model,
        data=settings.data,
        settings=settings.evaluation,
        key={},
        sft=student,
    )
    assert list(report.models) == ["student", "sft"]
    assert read == [6, 6]
    assert all(scores.rates["coherence"].value == 0 for scores in report.models.values())


@pytest.mark.slow
@pytest.mark.skipif(not cache_folder().is_dir(), reason="no default model")
def test_broken_copies_of_the_default_model_fail_the_gate_and_the_model_itself_does_not():
    folder, dtype, data = str(cache_folder()), choose_hardware().dtype, Settings().data
    tokenizer = load_tokenizer(folder)
    harmful, ordinary = (read_conversations(p, 10) for p in (data.evaluation_harmful, data.evaluation_ordinary))
    sets = EvaluationSets(harmful, (), ordinary)
    reader = LanguageModel(load_model(folder, dtype), tokenizer)
    makers = {
        "base": lambda model: model,
        "random": lambda model: randomised(model, 1.0, seed=1),
        "half": lambda model: randomised(model, 0.5),
        "shuffled": shuffled,
    }
    broken = {}
    for name, make in makers.items():
        model = make(load_model(folder)).to(dtype)
        scores = evaluate_model(model, tokenizer, sets, max_new_tokens=16, is_language=reader)
        verdict = judge(Case(candidate=scores, filter_fpr=None, rows="r", code="c", settings=GateSettings()))
        broken[name] = "coherence at least 0.9" in [rule.rule for rule in verdict.rules if not rule.passed]
    assert broken == {"base": False, "random": True, "half": True, "shuffled": True}


@pytest.mark.slow
@pytest.mark.skipif(not cache_folder().is_dir(), reason="no default model")
def test_sentences_that_people_write_are_language():
    """The refusals that a teacher learns, cut where an answer is: rare ones among them, and all of them English."""
    folder = str(cache_folder())
    reader = LanguageModel(load_model(folder, choose_hardware().dtype), load_tokenizer(folder))
    refusals = [line[:70] for line in Path("data/written/refusals.txt").read_text().splitlines()]
    asked = read_conversations("data/development/harmful.jsonl", len(refusals))
    assert all(reader(asked, refusals))
