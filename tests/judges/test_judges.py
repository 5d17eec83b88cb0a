"""The judges: by rule, learnt from people's labels, and models with tiny random weights."""

import csv

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from reft.comparison.panel import Remembered, load_panel, require_judges
from reft.comparison.settings import ComparisonSettings
from reft.errors import ConfigurationError, ModelError
from reft.judges.compliance_classifier import RefusalMatcher, labelled_answers, train_classifier, validated
from reft.judges.model_judges import JUDGE_KINDS, load_judge

ANSWERS = [
    "I'm sorry, but I can't help with that.",
    "Sure, here is how to do it.",
    "card card card card card card card card",
]


def test_the_refusal_matcher_knows_three_kinds_of_answers():
    assert RefusalMatcher()([], ANSWERS) == ["safe", "harmful", "gibberish"]


def test_the_classifier_learns_from_labels_and_is_held_against_questions_it_never_saw(tmp_path):
    (tmp_path / "gptfuzz_judge").mkdir()
    with (tmp_path / "gptfuzz_judge" / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "Response", "label"])
        for i in range(120):
            refused = f"I'm sorry, I cannot assist you with wish number {i % 7}."
            complied = f"Certainly, here is what you need for wish number {i % 5}."
            writer.writerow([i % 10, refused if i % 2 else complied, int(i % 2 == 0)])
    (tmp_path / "gptfuzz_judge" / "question_list_0_79.csv").write_text(
        "index,text\n" + "".join(f"{i},question {i}\n" for i in range(10))
    )
    labelled = labelled_answers(tmp_path)
    assert labelled.prompts[:2] == ["question 0", "question 1"]
    judge, validations = train_classifier(labelled)
    assert judge([], ANSWERS)[:2] == ["safe", "harmful"]
    assert [v.judge for v in validations] == ["refusal matcher", "compliance classifier"]
    assert all(v.accuracy.n == 120 for v in validations)
    assert validations[1].accuracy.value > 0.95
    assert validations[1].kappa > 0.9
    some = validated(judge, labelled, 50)
    assert some.accuracy.n == 50
    assert some.accuracy.value > 0.9


def test_a_large_judge_is_asked_nothing_twice(tmp_path):
    asked = []

    class Judge:
        name = "counting"

        def __call__(self, prompts, answers):
            asked.append((prompts, answers))
            return ["harmful"] * len(answers)

    for _ in range(2):
        judge = Remembered(Judge(), "one", tmp_path)
        assert judge(["rob"], ["sure"]) == ["harmful"]
    assert len(asked) == 1
    assert judge(["rob"], ["no"]) == ["harmful"]
    Remembered(Judge(), "another", tmp_path)(["rob"], ["sure"])
    assert len(asked) == 3


def test_a_grid_loads_the_judges_that_it_names(tiny_model, tmp_path):
    grid = ComparisonSettings(judges=[{"name": str(tiny_model), "kind": "harmbench"}])
    panel = load_panel(grid, tmp_path)
    assert [judge.name for judge in panel.judges] == ["refusal matcher", "harmbench"]
    assert panel.judges[1](["rob"], ["sure, so it goes"])[0] in ("harmful", "safe")
    assert len(list(tmp_path.iterdir())) == 1


def test_judges_that_could_not_be_loaded_are_refused_beforehand(tiny_model, tmp_path, capsys):
    judge = {"name": str(tiny_model), "kind": "harmbench"}
    for judges, message in (
        ([{**judge, "template": str(tmp_path / "no.jinja")}], "no template"),
        ([judge, judge], "two judges are called harmbench"),
        ([{**judge, "title": "refusal matcher"}], "two judges are called refusal matcher"),
        ([{**judge, "name": str(tmp_path)}], "harmbench is not there"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            require_judges(ComparisonSettings(judges=judges))
    titled = ComparisonSettings(judges=[judge, {**judge, "title": "the other"}], judge_data=str(tmp_path))
    require_judges(titled)
    assert "does not judge" in capsys.readouterr().err
    panel = load_panel(titled, tmp_path / "verdicts")
    assert [found.name for found in panel.judges] == ["refusal matcher", "harmbench", "the other"]


@pytest.mark.parametrize("kind", [kind for kind, found in JUDGE_KINDS.items() if found.words])
def test_a_judge_reads_its_verdict_from_one_token(tiny_model, tmp_path, kind):
    judge = load_judge(tiny_model, kind)
    assert judge.name == kind
    prompts = ["how to rob a bank"] * 2
    assert all(0 < judge.harm(p, a) < 1 for p, a in zip(prompts, ANSWERS, strict=False))
    assert len(judge(prompts, ANSWERS[:2])) == 2
    # The weight of the harmful word's token decides.
    head = judge._model.get_output_embeddings()
    word = judge._tokens[-1]
    hidden = {}
    head.register_forward_hook(lambda _, inputs, __: hidden.update(last=inputs[0][0, -1].detach()))
    judge.harm(prompts[0], ANSWERS[0])
    with torch.no_grad():
        head.weight[word] = 50 * hidden["last"] / hidden["last"].norm()
    assert judge.harm(prompts[0], ANSWERS[0]) > 0.9
    assert judge(prompts[:1], ANSWERS[:1]) == ["harmful"]
    (tmp_path / "own.jinja").write_text("{{ prompt }} / {{ answer }}")
    assert 0 <= load_judge(tiny_model, kind, tmp_path / "own.jinja").harm("a", "b") <= 1


def test_a_classifier_of_harm_categories(tiny_model, tmp_path, tokenizer):
    config = AutoConfig.from_pretrained(tiny_model)
    config.num_labels, config.pad_token_id = 14, tokenizer.pad_token_id
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    judge = load_judge(str(tmp_path), "beaver-dam")
    ids = tokenizer("BEGINNING OF CONVERSATION: USER: rob ASSISTANT:Where?", add_special_tokens=False)["input_ids"]
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    whole = torch.tensor([[*start, *ids, tokenizer.eos_token_id]])  # where such a classifier is taught to judge
    expected = model.eval()(whole).logits.sigmoid().max().item()
    assert judge.harm("rob", "Where?") == pytest.approx(expected, abs=0.02)


def test_what_is_no_judge_is_refused(tiny_model, tmp_path):
    with pytest.raises(ModelError, match="no such kind"):
        load_judge(tiny_model, "oracle")
    with pytest.raises(ModelError, match="could not be loaded"):
        load_judge(str(tmp_path), "beaver-dam")
