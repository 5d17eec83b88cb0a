"""A run configuration whose keys are right, and what it names wrong."""

import json
from pathlib import Path

import pytest
import yaml
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from pipelines.profiled import require_runnable
from reft import plugins
from reft.cli import app
from reft.config import Section, Settings, parse_settings
from reft.errors import ConfigurationError
from reft.validation.faults import Fault
from reft.validation.profile import faults_of
from tests.factories import row, write_jsonl


@pytest.fixture(autouse=True)
def default_model(tmp_path, monkeypatch):
    """A machine on which the default model has been fetched."""
    folder = tmp_path / "cache" / "reft" / "smollm2-135m-instruct"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def the_fault(**sections) -> Fault:
    (found,) = faults_of(parse_settings(sections))
    return found


def test_the_default_profile_has_no_fault():
    assert faults_of(Settings()) == []


def test_what_a_scorer_or_a_rule_does_not_take_is_told_before_a_run():
    found = the_fault(filtering={"scorer": "guard", "scorer_settings": {"modell": "x"}})
    assert found.setting == "filtering.scorer_settings"
    assert "modell: no such setting; did you mean model?" in found.what
    assert the_fault(filtering={"scorer": "guard"}).what.startswith("model: is missing")
    found = the_fault(gate={"rule_settings": {"audit": {"uncalibrated_block": True}}})
    said = "uncalibrated_block: no such setting; did you mean uncalibrated_blocks?"
    assert (found.setting, found.what) == ("gate.rule_settings.audit", said)
    assert the_fault(gate={"rule_settings": {"limits": {"max": 1}}}).remedy == "it takes nothing"
    with pytest.raises(ConfigurationError, match="there is no rule adit; did you mean audit"):
        parse_settings({"gate": {"rule_settings": {"adit": {}}}})
    with pytest.raises(ConfigurationError, match=r"gate\.rule_settings\.audit: .*uncalibrated_block"):
        require_runnable(parse_settings({"gate": {"rule_settings": {"audit": {"uncalibrated_block": True}}}}))


@pytest.mark.parametrize("package", ["reft.filtering.scorers", "reft.gate.rules"])
def test_every_scorer_and_rule_says_what_it_takes(package):
    assert all(issubclass(part.SETTINGS, Section) for part in plugins.load_all(package))


@pytest.mark.parametrize("name", ["user", "user_labels", "task_test", "alignment_harmless", "evaluation_ordinary"])
def test_a_missing_file_is_named_with_its_setting(name):
    found = the_fault(data={name: "data/nowhere.jsonl"})
    assert found.setting == f"data.{name}"
    assert "data/nowhere.jsonl" in found.what
    assert ("null" in found.remedy) == (name in ("user_labels", "task_test"))


def test_a_calibration_is_wanted_where_there_is_an_audit_alone():
    data = {"audit_benign": "not/there.json"}
    assert the_fault(data=data, audit={"enabled": True}).setting == "data.audit_benign"
    assert faults_of(parse_settings({"data": data})) == []


@pytest.mark.parametrize("address", ["s3://bucket/rows.jsonl", "https://example.org/rows.jsonl", "owner/rows"])
def test_what_lies_elsewhere_is_left_alone(address):
    assert faults_of(parse_settings({"data": {"user": address}, "model": {"name": "owner/model"}})) == []


@pytest.mark.parametrize("setting", ["name", "aligned"])
def test_an_adapter_is_no_model(tmp_path, setting):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "owner/base"}))
    found = the_fault(model={setting: str(tmp_path)})
    assert found.setting == f"model.{setting}"
    assert "PEFT adapter" in found.what
    assert "owner/base" in found.remedy
    assert "finetuning.merged" in found.remedy


@pytest.mark.parametrize("setting", ["name", "aligned"])
def test_chatml_for_a_tokenizer_without_its_marks(tmp_path, setting):
    built = Tokenizer(models.WordLevel({"</s>": 0}, unk_token="</s>"))
    PreTrainedTokenizerFast(tokenizer_object=built, eos_token="</s>").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    found = the_fault(model={setting: str(tmp_path)})
    assert found.setting == "model.chat_template"
    assert "<|im_end|>" in found.what
    assert str(tmp_path) in found.what
    assert "'auto'" in found.remedy
    assert faults_of(parse_settings({"model": {setting: str(tmp_path), "chat_template": "auto"}})) == []


@pytest.mark.parametrize("config", ["[]", "{", "{}"])
def test_an_adapter_that_names_no_base_is_told_from_a_model_too(tmp_path, config):
    (tmp_path / "adapter_config.json").write_text(config)
    assert "name its base model," in the_fault(model={"name": str(tmp_path)}).remedy


def test_a_model_folder_that_is_missing_a_file_or_holds_no_weights(tmp_path):
    assert "no such model folder" in the_fault(model={"name": str(tmp_path / "nowhere")}).what
    file = tmp_path / "model.safetensors"
    file.touch()
    assert "a file where a model's folder" in the_fault(model={"name": str(file)}).what
    assert "no config.json" in the_fault(model={"name": str(tmp_path)}).what
    (tmp_path / "config.json").touch()
    assert faults_of(parse_settings({"model": {"name": str(tmp_path)}})) == []
    file.rename(tmp_path / "pytorch_model.bin")
    found = the_fault(model={"name": str(tmp_path)})
    assert "only pickled weights" in found.what
    assert "safetensors" in found.remedy
    (tmp_path / "pytorch_model.bin").unlink()
    assert "no weights" in the_fault(model={"name": str(tmp_path)}).what


def test_a_default_model_that_was_not_fetched(default_model):
    (default_model / "model.safetensors").unlink()
    assert the_fault().remedy == "run: reft fetch-model"


def test_a_template_that_is_missing_or_does_not_parse(tmp_path):
    file = tmp_path / "chat.jinja"
    assert "no such chat template" in the_fault(model={"chat_template": str(file)}).what
    file.write_text("{% for m in messages %}\n{{ m.content }")
    found = the_fault(model={"chat_template": str(file)})
    assert found.setting == "model.chat_template"
    assert "chat.jinja, line 2, is not Jinja" in found.what
    file.write_bytes(b"\xff\xfe")
    assert "cannot be read" in the_fault(model={"chat_template": str(file)}).what
    file.write_text("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}")
    assert faults_of(parse_settings({"model": {"chat_template": str(file)}})) == []


def test_test_rows_that_are_trained_on(tmp_path):
    test = write_jsonl(tmp_path / "test.jsonl", [row("Where is my card?", "cards"), row("Am I rich?", "balance")])
    user = write_jsonl(tmp_path / "user.jsonl", [row("where is  MY card?", "other"), row("Why?", "because")])
    found = the_fault(data={"user": str(user), "task_test": str(test)})
    assert found.setting == "data.task_test"
    assert found.what == f"shares 1 of its 2 prompts with data.user ({user})"
    shared = the_fault(data={"alignment_harmless": str(user), "task_test": str(test)})
    assert "data.alignment_harmless" in shared.what


def test_test_rows_are_compared_with_a_table_by_its_columns(tmp_path):
    test = write_jsonl(tmp_path / "test.jsonl", [row("Where is my card?", "cards")])
    (tmp_path / "user.csv").write_text("q,r\nWhere is my card?,cards\n")
    data = {"user": str(tmp_path / "user.csv"), "columns": "q,r", "task_test": str(test)}
    assert "shares 1 of its 1 prompts" in the_fault(data=data).what


def test_a_file_that_cannot_be_read_is_a_fault_and_no_crash(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    assert the_fault(data={"user": str(tmp_path / "rows.jsonl")}).setting == "data.user"


def test_the_command_lists_every_fault_on_a_line_of_its_own(tmp_path):
    profile = tmp_path / "mine.yaml"
    settings = {"data": {"user": "data/no.jsonl"}, "model": {"name": "./no", "chat_template": "no.jinja"}}
    profile.write_text(yaml.safe_dump({"parameters": {"settings": settings}}))
    result = CliRunner().invoke(app, ["check-config", str(profile)])
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    places = {"data.user": 4, "model.name": 7, "model.chat_template": 6}
    assert [line.partition(": ")[0] for line in lines] == [f"{profile}, line {line}" for line in places.values()]
    assert [line.split(": ")[1] for line in lines] == list(places)
    assert lines[1].endswith("; correct the path")
    assert "every setting is right" in CliRunner().invoke(app, ["check-config", str(Path("zenml.yaml"))]).stdout
