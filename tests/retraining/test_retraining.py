"""Whether a new student is needed, told from digests and from scores."""

import json
import random
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from reft.cli import app
from reft.cli.retrain import _say_outcome
from reft.config import parse_settings
from reft.conversations.schema import Conversation, Message
from reft.evaluation.generation import generate
from reft.keys.lineage import WORDS, changed, lineage
from reft.models.loading import load_model, load_tokenizer
from reft.retraining.decision import LEAST, canary_accuracy, canary_drift, decide_retraining, drift_between
from reft.tracking.promotion import promote
from reft.tracking.registry import register_candidate
from tests.factories import row, write_jsonl


def settings(tmp_path, tiny_model, **sections):
    files = ("user", "alignment_harmful", "alignment_harmless", "calibration_harmful", "calibration_harmless")
    for name in files:
        if not (tmp_path / f"{name}.jsonl").exists():
            write_jsonl(tmp_path / f"{name}.jsonl", [row(name, "a")])
    data = {name: str(tmp_path / f"{name}.jsonl") for name in files}
    return parse_settings({"model": {"name": tiny_model}, "data": data, **sections})


def test_a_digest_for_each_thing_that_decides(tmp_path, tiny_model):
    before = lineage(settings(tmp_path, tiny_model))
    assert changed(before, lineage(settings(tmp_path, tiny_model))) == []
    assert changed(before, lineage(settings(tmp_path, tiny_model, tracking={"runs_folder": "elsewhere"}))) == []
    assert changed(before, lineage(settings(tmp_path, tiny_model, filtering={"fpr": 0.02}))) == [WORDS["configuration"]]
    write_jsonl(tmp_path / "user.jsonl", [row("other", "a")])
    assert changed(before, lineage(settings(tmp_path, tiny_model))) == [WORDS["user_data"]]
    write_jsonl(tmp_path / "calibration_harmless.jsonl", [row("other", "a")])
    assert changed(before, lineage(settings(tmp_path, tiny_model)))[1:] == [WORDS["alignment_data"]]
    assert set(changed({}, before)) == set(WORDS.values())


def test_a_named_files_content_decides_and_not_where_it_lies(tmp_path, tiny_model):
    guard, template, overrides = tmp_path / "guard.bin", tmp_path / "t.j2", tmp_path / "overrides.jsonl"
    for file in (guard, template, overrides):
        file.write_text("before")
    run = settings(tmp_path, tiny_model, filtering={"scorer": "guard", "scorer_settings": {"model": str(guard)}})
    run = run.model_copy(update={
        "data": run.data.model_copy(update={"overrides": str(overrides)}),
        "model": run.model.model_copy(update={"chat_template": str(template)}),
    })  # fmt: skip
    for file in (guard, template, overrides):
        before = lineage(run)
        file.write_text("after")
        assert changed(before, lineage(run)) == [WORDS["configuration"]], file
    before = lineage(run)
    moved = Path(run.data.user).rename(tmp_path / "moved.jsonl")
    run = run.model_copy(update={"data": run.data.model_copy(update={"user": str(moved)})})
    assert changed(before, lineage(run)) == []


@pytest.mark.parametrize(
    "sections",
    [
        {"audit": {"enabled": True, "rows": 4}},
        {"cluster": {"nodes": 2}},
        {"finetuning": {"timeout_minutes": 1, "stalled_minutes": 1, "work_folder": "x", "checkpoint_every": 7}},
    ],
)
def test_how_a_run_is_carried_out_and_judged_asks_for_no_other_student(tmp_path, tiny_model, sections):
    before = lineage(settings(tmp_path, tiny_model))
    assert changed(before, lineage(settings(tmp_path, tiny_model, **sections))) == []


def test_it_is_decided_with_reasons(tmp_path, tiny_model):
    run = settings(tmp_path, tiny_model)
    assert decide_retraining(run, None) == decide_retraining(run, None)
    assert decide_retraining(run, None).reasons == ("nothing serves yet",)
    same = decide_retraining(run, lineage(run))
    assert (same.needed, same.reasons) == (False, ("nothing has changed since the champion was made",))
    other = decide_retraining(run, {**lineage(run), "code": "older"})
    assert other.needed
    assert other.reasons == ("changed since the champion: the code or its libraries",)


def test_drift_is_seen_and_chance_is_not():
    rng = random.Random(0)
    before = [rng.gauss(-0.5, 0.1) for _ in range(400)]
    same = drift_between(
        before, 0.1, [rng.gauss(-0.5, 0.1) for _ in range(300)], removed_now=[i % 10 == 0 for i in range(300)]
    )
    assert all("as before" in line for line in same)
    other = drift_between(
        before, 0.1, [rng.gauss(-0.3, 0.1) for _ in range(300)], removed_now=[i % 3 == 0 for i in range(300)]
    )
    assert all("DRIFTED" in line for line in other)
    assert "would remove 33.3%, before 10.0%" in other[1]


@pytest.mark.parametrize("rows", [LEAST, 2 * LEAST, 5 * LEAST])
@pytest.mark.parametrize("harmful", [0.01, 0.05, 0.3])
def test_two_halves_of_the_same_rows_are_no_drift_however_few(rows, harmful):
    rng, tries = random.Random(rows), 100
    alarms = [0, 0]
    for _ in range(tries):
        then, now = ([rng.random() < harmful for _ in range(size)] for size in (rows, 500))
        scores = [[rng.gauss(0.5 if one else -0.5, 0.1) for one in half] for half in (then, now)]
        said = drift_between(scores[0], sum(then) / rows, scores[1], removed_now=now)
        alarms = [count + ("DRIFTED" in line) for count, line in zip(alarms, said, strict=True)]
    assert max(alarms) <= 4  # of a hundred at 0.01


def test_a_share_that_few_rows_then_could_not_show_is_no_drift():
    none_then = drift_between([-0.5] * 40, 0.0, [-0.5] * 400, removed_now=[True] * 4 + [False] * 396)
    assert "would remove 1.0%, before 0.0%: as before" in none_then[1]
    seen = drift_between([-0.5] * 400, 0.0, [-0.5] * 400, removed_now=[True] * 40 + [False] * 360)
    assert "DRIFTED" in seen[1]


@pytest.mark.parametrize(("then", "now"), [(LEAST - 1, 500), (500, LEAST - 1), (500, 0)])
def test_too_few_rows_are_not_judged(then, now):
    (said,) = drift_between([-0.5] * then, 0.5, [0.5] * now, removed_now=[True] * now)
    assert said == f"scores of the new rows: too few to judge ({then} before, {now} now; {LEAST} are needed)"


def test_a_canary_that_falls_is_said_and_chance_is_not():
    assert "right on 94.0% of 50 canary rows, before 95.0%: as before" in canary_drift(
        [True] * 95 + [False] * 5, [True] * 47 + [False] * 3
    )
    assert "DRIFTED: new rows are needed" in canary_drift([True] * 95 + [False] * 5, [True] * 35 + [False] * 15)
    assert "as before" in canary_drift([True] * 50 + [False] * 50, [True] * 50)  # better is no drift


def test_the_champion_is_asked_the_canary_rows(store, tmp_path, tiny_model):
    run = settings(tmp_path, tiny_model, tracking={"registered_name": "s"}, evaluation={"max_new_tokens": 4})
    profile = {"parameters": {"settings": run.model_dump(mode="json")}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(profile))
    student = tmp_path / "student"
    load_model(tiny_model).save_pretrained(student)
    load_tokenizer(tiny_model).save_pretrained(student)
    prompts = [f"prompt {i}" for i in range(20)]
    said = zip(prompts, answers_of(student, prompts), strict=True)
    right = [row(prompt, answer) for prompt, answer in said if answer and answer.isprintable()][:2]
    file = str(write_jsonl(tmp_path / "canary.jsonl", [*right, row("three", "not this")]))
    assert canary_accuracy(run, student, file) == [True, True, False]
    (student / "gate.json").write_text(json.dumps({"rules": [], "outcomes": {"accuracy": [True] * 90}}))
    version = register_candidate(student, "s", lineage(run), passed=True).version
    promote("s", "champion", "me", version=version)
    done = CliRunner().invoke(app, ["retrain", "--if-needed", "--config", str(tmp_path / "run.yaml"), "--canary", file])
    assert done.exit_code == 0, done.output
    assert "right on 66.7% of 3 canary rows, before 100.0%" in done.stdout
    assert store.search_model_versions("name = 's'")[0].version in (1, "1")


def answers_of(folder, prompts):
    chats = [Conversation(row=0, messages=(Message(role="user", content=prompt),)) for prompt in prompts]
    return generate(load_model(str(folder)), load_tokenizer(str(folder), "chatml"), chats, max_new_tokens=4)


def test_nothing_to_do_is_said_and_costs_no_run(store, tmp_path, tiny_model):
    run = settings(tmp_path, tiny_model, tracking={"registered_name": "s"})
    profile = {"parameters": {"settings": run.model_dump(mode="json")}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(profile))
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "gate.json").write_text(json.dumps({"passed": True, "rules": []}))
    version = register_candidate(tmp_path / "student", "s", lineage(run), passed=True).version
    promote("s", "champion", "me", version=version)
    command = ["retrain", "--if-needed", "--config", str(tmp_path / "run.yaml")]
    said = CliRunner().invoke(app, [*command, "--canary", "new.jsonl"])
    assert said.exit_code == 0, said.output
    assert "nothing has changed" in said.stdout
    assert "the canary rows were not asked: the champion has no accuracy" in said.stdout
    assert "nothing to do" in said.stdout
    assert store.search_model_versions("name = 's'")[0].version in (1, "1")


NOTED = {"rule": "judged by the same code and libraries", "passed": False, "figures": "other code", "blocks": False}
BROKEN = {"rule": "accuracy at least 0.9", "passed": False, "figures": "0.5"}


def test_a_rule_that_only_notes_makes_no_failure_of_a_passed_student(store, tmp_path, capsys):  # noqa: ARG001
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "gate.json").write_text(json.dumps({"passed": True, "rules": [NOTED]}))
    passed = register_candidate(tmp_path / "student", "s", {}, passed=True).version
    _say_outcome("s", passed, serving="")
    assert f"version {passed} passed its gate: reft promote s --version {passed}" in capsys.readouterr().out
    (tmp_path / "student" / "gate.json").write_text(json.dumps({"passed": False, "rules": [NOTED, BROKEN]}))
    failed = register_candidate(tmp_path / "student", "s", {}, passed=False).version
    with pytest.raises(typer.Exit) as end:
        _say_outcome("s", failed, serving=passed)
    assert end.value.exit_code == 4
    said = capsys.readouterr().err
    assert f"version {failed} has not passed its gate: accuracy at least 0.9 (0.5)\n" in said
    assert f"version {passed} serves on" in said
