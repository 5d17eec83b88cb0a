import json

import pytest
import torch

from reft.config import FilteringSettings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import from_prompt
from reft.conversations.tokenization import encode_prompts
from reft.errors import ModelError
from reft.filtering.scorers.guard import GUARD_KINDS, GuardScorer, load_guard
from reft.models.loading import load_model, load_tokenizer
from reft.refusal_feature.extraction import LabelledPrompts
from reft.scan.scan import scan_file
from tests.factories import row, write_jsonl

TURNS = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no system turn') }}"
    "{% endif %}{{ message['content'] }}{% endfor %}"
)
TEMPLATES = {
    "llama-guard": "Judge this.\n" + TURNS + "\nVerdict:",
    "shieldgemma": "{{ guideline }}\n" + TURNS + "\nDoes it break the policy?\n",
    "granite-guardian": "Risk: {{ guardian_config['risk_name'] }}\n" + TURNS + "\nIs there a risk?\n",
}


def guard_folder(model: str, kind: str, folder) -> str:
    """A tiny model whose tokenizer has a template of the family's kind, or none."""
    load_model(model, torch.float32).save_pretrained(folder)
    tokenizer = load_tokenizer(model)
    tokenizer.chat_template = TEMPLATES.get(kind)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", GUARD_KINDS)
def test_the_score_is_the_verdicts_probability(kind, any_model, tmp_path):
    guard = load_guard(guard_folder(any_model, kind, tmp_path), kind)
    prompts = encode_prompts(guard.tokenizer, [from_prompt(text) for text in ("Tell me how to rob a bank", "Hi")])
    scores = guard.read(prompts)
    for prompt, score in zip(prompts, scores, strict=True):
        ids = torch.tensor([[*prompt.input_ids, *guard.before]])
        with torch.no_grad():
            logits = guard.model(input_ids=ids).logits[0, -1, list(guard.verdicts)].float()
        assert score == pytest.approx(2 * float(logits.softmax(-1)[1]) - 1, abs=2e-2)
    text = guard.tokenizer.decode([*prompts[0].input_ids, *guard.before])
    assert "Tell me how to rob a bank" in text
    if kind == "shieldgemma":
        assert "hurts people" in text
    if kind == "granite-guardian":
        assert "Risk: harm" in text


def test_what_a_guard_writes_before_its_verdict_is_not_written_twice(tiny_model, tmp_path):
    folder = guard_folder(tiny_model, "llama-guard", tmp_path)
    assert load_guard(folder, "llama-guard").before
    (tmp_path / "own.jinja").write_text(TURNS + "{{ '\\n\\n' }}")
    assert not load_guard(folder, "llama-guard", str(tmp_path / "own.jinja")).before


@pytest.fixture
def scorer(tiny_model, tmp_path):
    return guard_scorer(tiny_model, tmp_path)


def guard_scorer(model: str, tmp_path, template: str | None = None) -> GuardScorer:
    guard = load_guard(guard_folder(model, "llama-guard", tmp_path / "guard"), "llama-guard", template)
    files = [
        write_jsonl(tmp_path / f"{name}.jsonl", [row(f"{text} {i}", "Sure") for i in range(40)])
        for name, text in (("h", "rob bank"), ("s", "bake bread"))
    ]
    return GuardScorer(name="llama-guard", guard=guard, calibration=LabelledPrompts(*map(read_conversations, files)))


def test_a_guard_scans_a_file_through_the_same_interface(scorer, tmp_path):
    system = {"role": "system", "content": "Answer in rhyme and be brief."}
    data = [row(f"bake bread {i}", "Sure") for i in range(20)] + [
        {"messages": [system, *row("bake bread", "Sure, with a lot of flour and patience.")["messages"]]}
    ]
    result = scan_file(
        write_jsonl(tmp_path / "d.jsonl", data),
        tmp_path / "out",
        scorer,
        settings=FilteringSettings(fpr=0.05, quarantine_fpr=0.1),
    )
    assert result.rows == 21
    assert result.reads == "its verdict token"
    assert any("is it a llama-guard" in warning for warning in result.warnings)  # random weights know no verdict
    last = (tmp_path / "out" / "decisions.jsonl").read_text().splitlines()[-1]
    assert all(name in last for name in ("system", "user[1] alone", "answer[2]"))


def test_rows_without_a_prompt_are_quarantined_and_the_scan_goes_on(scorer, tmp_path):
    turns = [("assistant", "Hello!"), ("user", ""), ("assistant", "Yes.")]
    greeted = {"messages": [{"role": role, "content": content} for role, content in turns]}
    data = write_jsonl(tmp_path / "d.jsonl", [row("", "Yes."), greeted, row("bake bread 1", "Sure")])
    result = scan_file(data, tmp_path / "out", scorer, settings=FilteringSettings(fpr=0.05, quarantine_fpr=0.1))
    decisions = [json.loads(line) for line in (tmp_path / "out" / "decisions.jsonl").open()]
    assert [d["decision"] for d in decisions[:2]] == ["quarantine"] * 2
    assert {d["reason"] for d in decisions[:2]} == {"cannot be scored: no user turn with a text"}
    assert len(result.scores) == 1


def test_a_text_that_the_template_takes_in_no_way_is_quarantined_and_the_scan_goes_on(tiny_model, tmp_path):
    (tmp_path / "own.jinja").write_text(TURNS.replace("['content']", "['content'] | replace('~', ' ') | trim"))
    scorer = guard_scorer(tiny_model, tmp_path, str(tmp_path / "own.jinja"))
    marked = [row("What is <|im_end|>?\n", "An end."), row("What is <|im_end|> in a~log?", "An end.")]
    noted = {**row("bake bread 1", "Sure"), "note": "copied from the log: <|im_end|> stood~there"}
    data = write_jsonl(tmp_path / "d.jsonl", [*marked, noted, noted])
    settings = FilteringSettings(fpr=0.05, quarantine_fpr=0.1)
    result = scan_file(data, tmp_path / "out", scorer, settings=settings)
    decisions = [json.loads(line) for line in (tmp_path / "out" / "decisions.jsonl").open()]
    assert [d["score"] is None for d in decisions] == [False, True, True, True]
    assert all(d["decision"] == "quarantine" for d in decisions[1:])
    assert all("cannot be scored: a text spells out a special token" in d["reason"] for d in decisions[1:])
    assert len(result.scores) == 1


def test_an_unknown_kind_of_guard_is_refused(tiny_model):
    with pytest.raises(ModelError, match="llama-guard, shieldgemma"):
        load_guard(tiny_model, "bouncer")
