"""What each step's key is made of, and which change is named."""

import json
from functools import cache

import pytest
from typer.testing import CliRunner

from reft.cli import app
from reft.config import parse_settings
from reft.errors import ConfigurationError
from reft.keys.lineage import lineage
from reft.keys.stages import STAGES, changes, stage_keys, stages_of, why_again
from reft.storage.fingerprint import of_path
from tests.factories import row, write_jsonl

FILES = ("user", "task_test", "user_labels", "alignment_harmful", "alignment_harmless", "calibration_harmful",
         "calibration_harmless", "evaluation_harmful", "evaluation_lookalikes", "evaluation_ordinary",
         "evaluation_fields", "alignment_identities")  # fmt: skip


def settings(tmp_path, tiny_model, **sections):
    for name in FILES:
        if not (tmp_path / f"{name}.jsonl").exists():
            write_jsonl(tmp_path / f"{name}.jsonl", [row(name, "a")])
    data = {name: str(tmp_path / f"{name}.jsonl") for name in FILES}
    return parse_settings({"model": {"name": tiny_model}, "data": data, **sections})


def keys(run):
    return {name: key.as_dict() for name, key in stage_keys(run).items()}


def again(before, now):
    return {name for name, reasons in why_again(before, now).items() if reasons}


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("user", {"validation", "filtering", "finetuning", "sft", "evaluation", "audit"}),
        ("user_labels", {"filtering", "finetuning", "evaluation", "audit"}),
        ("task_test", {"validation", "filtering", "finetuning", "sft", "evaluation", "audit"}),
        (
            "evaluation_harmful",
            {"calibration", "filtering", "finetuning", "baselines", "evaluation", "audit_reference", "audit"},
        ),
        ("evaluation_fields", {"calibration", "filtering", "finetuning", "evaluation", "audit"}),
        ("calibration_harmless", set(STAGES) - {"validation", "sft"}),
    ],
)
def test_a_changed_file_reaches_what_reads_it_and_all_after(tmp_path, tiny_model, file, stages):
    before = keys(settings(tmp_path, tiny_model))
    write_jsonl(tmp_path / f"{file}.jsonl", [row("other", "a")])
    assert again(before, keys(settings(tmp_path, tiny_model))) == stages


def test_lineage_reads_no_path_that_the_keys_have_read(tmp_path, tiny_model):
    run, read = settings(tmp_path, tiny_model), list[str]()

    @cache
    def digest(path):
        read.append(path)
        return of_path(path)

    assert stage_keys(run, digest) == stage_keys(run)
    by_keys = list(read)
    assert {tiny_model, run.data.user} <= {*by_keys}
    assert lineage(run, digest) == lineage(run)
    assert read == by_keys


def test_new_files_under_old_names_reach_the_stages_whose_scorer_they_are(tmp_path, tiny_model):
    guard, template = tmp_path / "guard", tmp_path / "g.j2"
    guard.mkdir()
    options = {"model": str(guard), "template": str(template), "kind": "llama-guard"}
    run = settings(tmp_path, tiny_model, filtering={"scorer": "guard", "scorer_settings": options})
    for file in (guard / "model.safetensors", template):
        file.write_text("before")
        before = keys(run)
        file.write_text("after")
        assert again(before, keys(run)) == {"calibration", "filtering", "finetuning", "evaluation", "audit"}
    assert [name for name in before["filtering"]["files"] if "scorer" in name] == [
        "filtering.scorer_settings.model", "filtering.scorer_settings.template",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sections", "stages"),
    [
        ({"teacher": {"lam": 0.4}}, set(STAGES) - {"validation", "refusal_feature", "sft"}),
        ({"soft_labels": {"top_k": 4}}, {"soft_labels", "finetuning", "evaluation", "audit"}),
        ({"filtering": {"fpr": 0.02}}, {"calibration", "filtering", "finetuning", "evaluation", "audit"}),
        (
            {"evaluation": {"max_new_tokens": 4}},
            {"calibration", "filtering", "finetuning", "baselines", "evaluation", "audit"},
        ),
        ({"audit": {"rows": 4}}, {"audit_reference", "audit"}),
        ({"tracking": {"runs_folder": "x"}}, set()),
        ({"gate": {"margin": 0.5}}, set()),
        ({"cluster": {"nodes": 2}}, set()),  # trainings on this machine do not read it
    ],
)
def test_a_changed_setting_reaches_what_reads_it_and_all_after(tmp_path, tiny_model, sections, stages):
    assert again(keys(settings(tmp_path, tiny_model)), keys(settings(tmp_path, tiny_model, **sections))) == stages


def test_a_difference_is_named_by_part_and_item():
    before = {
        "settings": {"teacher": {"lam": 0.5}},
        "code": {"reft.a": "1", "reft.b": "2"},
        "libraries": {"torch": "2"},
    }
    now = {"settings": {"teacher": {"lam": 0.4}}, "code": {"reft.a": "1", "reft.c": "3"}, "libraries": {"torch": "3"}}
    assert changes(before, now) == [
        "settings.teacher.lam: 0.5 -> 0.4", "code.reft.b: 2 -> absent", "code.reft.c: absent -> 3",
        "libraries.torch: 2 -> 3",
    ]  # fmt: skip
    assert changes(now, now) == []


def test_a_stage_that_a_run_had_not_reached_is_said_to_be_new(tmp_path, tiny_model):
    now = keys(settings(tmp_path, tiny_model))
    before = {name: key for name, key in now.items() if name != "evaluation"}
    assert why_again(before, now)["evaluation"] == ["it was not part of that run"]


def test_what_a_profile_names_and_is_not_there_is_told_before_any_key(tmp_path, tiny_model):
    run = settings(tmp_path, tiny_model).model_dump(mode="json")
    run["data"]["task_test"] = "gone.jsonl"
    (tmp_path / "run.yaml").write_text(json.dumps({"parameters": {"settings": run}}))
    with pytest.raises(ConfigurationError, match=r"^data\.task_test: no such file or folder: gone\.jsonl"):
        CliRunner().invoke(app, ["cache-keys", "--config", str(tmp_path / "run.yaml")], catch_exceptions=False)


def test_the_command_prints_every_key_and_what_it_is_made_of():
    printed = CliRunner().invoke(app, ["cache-keys"])
    assert printed.exit_code == 0, printed.output
    assert [line.split()[0] for line in printed.output.splitlines()] == stages_of(parse_settings({}))
    parts = json.loads(CliRunner().invoke(app, ["cache-keys", "--json"]).output)
    assert parts["teacher"]["settings"]["teacher"]["lam"] == 0.5
    assert "reft.teacher.training" in parts["teacher"]["code"]
    one = CliRunner().invoke(app, ["cache-keys", "--step", "teacher"]).output
    assert "code.reft.teacher.training: " in one
    with pytest.raises(ConfigurationError, match="one of validation"):
        CliRunner().invoke(app, ["cache-keys", "--step", "treacher"], catch_exceptions=False)


def test_a_run_has_the_stages_that_its_settings_ask_for():
    plain = stages_of(parse_settings({}))
    assert plain == [stage for stage in STAGES if stage not in ("audit_reference", "audit")]
    audited = {"audit": {"enabled": True}, "evaluation": {"sft": False}}
    assert stages_of(parse_settings(audited)) == [stage for stage in STAGES if stage != "sft"]
