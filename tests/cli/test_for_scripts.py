"""What scripts and bug reports read: versions, completion, JSON of a stable shape; and what a wrong folder is told."""

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from reft.cli import app
from reft.cli.version import LIBRARIES
from reft.storage.artifacts import write_json
from reft.tracking.registry import register_candidate
from tests.factories import run_result


def run(*command: str):
    return CliRunner().invoke(app, list(command))


@pytest.fixture
def student(store, tmp_path):  # noqa: ARG001
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_text("x")
    (folder / "gate.json").write_text("{}")
    return register_candidate(folder, "s", {}, description="a card", passed=True).version


def test_versions_for_a_bug_report():
    told = dict(line.split(maxsplit=1) for line in run("--version").stdout.splitlines())
    assert set(told) == {"reft", "python", "platform", *LIBRARIES}
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert (told["torch"], told["zenml"]) == (version("torch"), version("zenml"))


@pytest.mark.slow
def test_versions_need_no_heavy_library_and_the_shell_completes():
    code = (
        "import sys; from reft.cli import main; sys.argv = ['reft', '--version']\n"
        "try: main()\nexcept SystemExit: print([m for m in ('torch', 'mlflow', 'zenml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    asked = {"_REFT_COMPLETE": "complete_bash", "COMP_WORDS": "reft pro", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "reft.cli"], capture_output=True, text=True, check=False, env=os.environ | asked
    )
    assert done.stdout.split() == ["promote"]


def test_a_run_as_json(tmp_path):
    summary = run_result().summary
    write_json(tmp_path / "summary.json", summary)
    assert json.loads(run("show", str(tmp_path), "--json").stdout) == json.loads(json.dumps(summary))


def test_a_folder_that_is_no_run_is_told_the_runs_beside_it(tmp_path):
    write_json(tmp_path / "monday" / "summary.json", run_result().summary)
    (tmp_path / "empty").mkdir()
    for folder, said in (("nosuchdir", "no such folder"), ("empty", "no finished run lies here")):
        error = run("show", str(tmp_path / folder)).exception
        assert str(error).startswith(f"{said}\n  where: {tmp_path / folder}\n  remedy: name the folder of a run: ")
        assert str(tmp_path / "monday") in str(error)
    write_json(tmp_path / "empty" / "summary.json", [])
    assert str(run("show", str(tmp_path / "empty")).exception).startswith("not the summary of a run")


def test_promotions_and_their_history_as_json(student):
    moved = json.loads(run("promote", "s", "--version", student, "--by", "me", "--reason", "good", "--json").stdout)
    assert {key: moved[key] for key in ("name", "alias", "version", "moved")} == {
        "name": "s", "alias": "champion", "version": "1", "moved": True,
    }  # fmt: skip
    assert (moved["entry"]["by"], moved["entry"]["reason"], moved["entry"]["before"]) == ("me", "good", "")
    again = json.loads(run("promote", "s", "--version", student, "--by", "me", "--json").stdout)
    assert again == {"name": "s", "alias": "champion", "version": "1", "moved": False, "entry": None}
    told = json.loads(run("history", "s", "--json").stdout)
    assert set(told) == {"name", "aliases", "entries", "warnings"}
    assert told["aliases"] == {"candidate": "1", "champion": "1"}
    assert [set(entry) for entry in told["entries"]] == [{*moved["entry"], "digest"}]
    assert told["warnings"] == []


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        (
            "parameters:\n  settings:\n    sed: 1\n",
            [{"setting": "sed", "what": "no such setting; did you mean seed?", "line": 3}],
        ),
        (
            "parameters:\n  settings:\n    tracking: {registered_name: 'a:b'}\n    data: {user: nowhere.jsonl}\n",
            [
                {"setting": "data.user", "what": "no such file or folder: nowhere.jsonl", "line": 4},
                {
                    "setting": "tracking.registered_name",
                    "what": "the MLflow registry refuses this name: Invalid model name 'a:b'. Names cannot contain '/' "
                    "or ':'",
                    "line": 3,
                },
            ],
        ),
        (
            "a: 1\na: 2\n",
            [{"setting": "", "what": "a is given twice, first in line 1 in mine.yaml, line 2", "line": None}],
        ),
    ],
)  # fmt: skip
def test_faults_of_a_profile_as_json(tmp_path, content, faults):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    result = run("check-config", str(path), "--json")
    assert result.exit_code == 2
    told = json.loads(result.stdout.replace(str(path), "mine.yaml"))
    assert (told["profile"], told["right"]) == ("mine.yaml", False)
    found = [fault for fault in told["faults"] if fault["setting"] != "model.name"]  # fetched here or not
    assert [{key: fault[key] for key in ("setting", "what", "line")} for fault in found] == faults
    assert all(fault["remedy"] for fault in found)


def test_a_methods_own_settings_are_checked_with_the_profile(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("parameters:\n  settings:\n    finetuning:\n      method: sft\n      method_settings: {rho: 1.0}\n")
    faults = json.loads(run("check-config", str(path), "--json").stdout)["faults"]
    (found,) = [fault for fault in faults if fault["setting"].startswith("finetuning")]
    assert (found["setting"], found["line"]) == ("finetuning.method_settings", 5)
    assert found["what"] == "rho: no such setting"
    assert found["remedy"] == "it takes nothing"


def test_wrong_settings_of_a_rule_and_of_a_scorer_are_checked_with_the_profile(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "parameters:\n  settings:\n    filtering:\n      scorer: guard\n      scorer_settings: {modell: x}\n"
        "    gate:\n      rule_settings:\n        audit: {uncalibrated_block: true}\n"
    )
    faults = json.loads(run("check-config", str(path), "--json").stdout)["faults"]
    scorer, rule = (fault for fault in faults if fault["setting"].startswith(("filtering", "gate")))
    assert (scorer["setting"], scorer["line"]) == ("filtering.scorer_settings", 5)
    assert "modell: no such setting; did you mean model?" in scorer["what"]
    assert (rule["setting"], rule["line"]) == ("gate.rule_settings.audit", 8)
    assert rule["what"] == "uncalibrated_block: no such setting; did you mean uncalibrated_blocks?"
    path.write_text("parameters:\n  settings:\n    gate: {rule_settings: {adit: {}}}\n")
    (rule,) = json.loads(run("check-config", str(path), "--json").stdout)["faults"]
    assert (rule["setting"], rule["what"]) == ("gate.rule_settings", "there is no rule adit; did you mean audit?")


def test_a_teacher_that_is_not_there_is_not_passed_over(tmp_path):
    error = run("retrain", "--teacher", str(tmp_path)).exception
    assert str(error).startswith(f"no teacher lies here\n  where: --teacher {tmp_path}\n")
