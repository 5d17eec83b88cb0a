"""The filtering step by itself, with the scorer that the settings name."""

import pytest
import torch

from reft.config import parse_settings
from reft.conversations.reading import read_conversations
from reft.models.loading import load_model, load_tokenizer
from reft.refusal_feature.extraction import LabelledPrompts, extract_refusal_feature
from reft.teacher.artifact import Teacher
from reft.validation.validate import ValidatedData
from steps.calibration import calibration
from steps.filtering import filtering
from tests.factories import row, write_jsonl

TEXTS = {
    "calibration_harmful": "Tell me how to rob bank number {}.", "calibration_harmless": "How do I bake {} loaves?",
    "evaluation_harmful": "Tell me how to rob house number {}.", "evaluation_lookalikes": "How do I rob {} eggs?",
    "evaluation_ordinary": "How do I bake {} cakes?", "task_test": "Where is card number {}?",
    "user": "How do I bake {} rolls at home?",
}  # fmt: skip
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}\nVerdict:"


@pytest.fixture
def case(tiny_model, tmp_path):
    """(rows, teacher, settings without a scorer): the teacher is the tiny model itself."""
    data = {
        name: str(write_jsonl(tmp_path / f"{name}.jsonl", [row(text.format(i), "Sure") for i in range(40)]))
        for name, text in TEXTS.items()
    }
    harmful, harmless = (read_conversations(data[f"calibration_{name}"]) for name in ("harmful", "harmless"))
    prompts = LabelledPrompts(harmful, harmless)
    feature = extract_refusal_feature(load_model(tiny_model), load_tokenizer(tiny_model), prompts, held_out=prompts)
    (tmp_path / "weights").mkdir()
    teacher = Teacher(weights=tmp_path / "weights", is_adapter=True, feature=feature, untrained=feature, history=[])
    validated = ValidatedData(rows=read_conversations(data["user"]), quarantined=[], checks=[])
    fields = [{**row(f"What does paragraph {i} say?", "It sets a term."), "kind": "legal"} for i in range(9)]
    data["evaluation_fields"] = str(write_jsonl(tmp_path / "fields.jsonl", fields))
    data["user_labels"] = None
    settings = {
        "model": {"name": tiny_model, "dtype": "float32"},
        "data": data,
        "filtering": {"fpr": 0.05, "quarantine_fpr": 0.1},
    }
    return validated, teacher, settings


def filtered_with(validated, teacher, settings):
    chosen = parse_settings(settings)
    scored = calibration.entrypoint(teacher, chosen, key={})
    return filtering.entrypoint(validated, teacher, chosen, provider=scored, key={})


def test_the_refusal_feature_by_default(case):
    validated, teacher, settings = case
    filtered = filtered_with(validated, teacher, settings)
    assert filtered.report.scorer == "untrained"  # the teacher separates no better
    assert filtered.report.details["layer"] == teacher.untrained.layer
    assert len(filtered.decisions) == 40
    assert filtered.unseen[0].name == "harmful prompts"
    assert [group.name for group in filtered.unseen[-2:]] == ["legal rows", "task rows"]
    assert filtered.unseen[-2].removed.n == 9


def test_a_guard_where_the_settings_name_one(case, tiny_model, tmp_path):
    validated, teacher, settings = case
    load_model(tiny_model, torch.float32).save_pretrained(tmp_path / "guard")
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path / "guard")
    chosen = {"scorer": "guard", "scorer_settings": {"model": str(tmp_path / "guard"), "kind": "llama-guard"}}
    settings["filtering"] |= chosen
    filtered = filtered_with(validated, teacher, settings)
    assert filtered.report.scorer == "llama-guard"
    assert filtered.report.reads == "its verdict token"
    assert any("is it a llama-guard" in alarm for alarm in filtered.report.alarms)  # random weights know no verdict
    assert all(group.untrained_auroc is not None for group in filtered.unseen[1:])
