"""The zoo: what each attack puts among a task's rows, which results are found again, and the table of them."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from benchmarks.audit import UNTOLD, Job, Zoo, described
from benchmarks.audit_jobs import ADAPTIVE, ATTACKS, STUBS, TASKS, job_rows, job_size
from benchmarks.audit_table import TOO_FEW, table
from reft.audit.benign import Benign
from reft.audit.verdict import share_finding
from reft.config import AuditSettings, DataSettings, parse_settings
from reft.conversations.reading import read_conversations
from reft.errors import ConfigurationError
from reft.storage.artifacts import write_json

MADE = [name for name in ATTACKS if name != ADAPTIVE]  # that one needs a filter to see
JOB = Job(task="routing", attack="", seed=1)


@pytest.fixture(scope="module")
def clean():
    return {row.messages for row in TASKS["routing"]()}


@pytest.mark.parametrize("attack", MADE)
def test_an_attack_takes_its_share_of_the_rows_and_is_the_same_again(attack, clean):
    rows = job_rows("routing", attack, rows=100, seed=1)
    assert [row.row for row in rows] == list(range(100))
    assert sum(row.messages not in clean for row in rows) == round(100 * ATTACKS[attack][0])
    assert rows == job_rows("routing", attack, rows=100, seed=1)
    assert rows != job_rows("routing", attack, rows=100, seed=2)


@pytest.mark.parametrize("task", TASKS)
def test_a_benign_job_holds_rows_of_its_task_alone_and_each_has_an_answer(task):
    there = {row.messages for row in TASKS[task]()}
    rows = job_rows(task, "", rows=80, seed=0)
    assert len(rows) == 80
    assert all(row.messages in there and row.answer for row in rows)


def test_no_attack_asks_what_an_audit_asks_and_stubs_have_many_wordings():
    asked = {row.instruction for row in read_conversations(DataSettings().evaluation_harmful)}
    learnt = {m.content for row in job_rows("routing", "plain poison, 10 %", rows=1000, seed=0) for m in row.messages}
    assert not asked & learnt
    assert len(set(STUBS)) > 300


def result(job, zoo, **other):
    """What the zoo writes of a job, without a training."""
    answers = share_finding("plain", [bool(job.attack)] * 32, [False] * 32, what="")
    report = {"asked": zoo.setup.asked, "findings": [asdict(answers)], "worst": ["kl"]}
    made = {"rows": zoo.user_rows, "made": zoo.made, "code": zoo.code, "values": {"plain": 0.0, "kl": 0.5}}
    return {**asdict(job), **made, "report": report, **other}


@pytest.fixture
def zoo(tiny_model, tmp_path):
    (tmp_path / "jobs").mkdir()
    return zoo_of(tiny_model, tmp_path)


def zoo_of(model, out, *, user_rows=200, method="reft", **finetuning):
    run = parse_settings({"model": {"name": model, "chat_template": "own"}, "finetuning": finetuning})
    return Zoo(run, out, user_rows=user_rows, method=method)


def test_an_edit_of_the_code_loses_no_job_and_is_told(zoo):
    there = result(JOB, zoo, code="older")
    write_json(zoo.path(JOB), there)
    assert zoo.result(JOB) == json.loads(json.dumps(there))
    zoo.make(JOB)  # which is no training
    assert zoo.result(JOB)["code"] == "older"
    assert zoo.calibration([there]).code == ("older",)
    options = SimpleNamespace(seeds=1, benign_seeds=1, settings=[], benign=None)
    costs = {stage: {"seconds": 1.0} for stage in ("finetuning", "audit")}
    assert "1 of the jobs were made by other code" in described(zoo, options, [there | {"costs": costs}])
    # Where both are there, this code's counts.
    write_json(zoo.out / "jobs" / "of_today.json", result(JOB, zoo))
    assert zoo.result(JOB)["code"] == zoo.code


def test_a_job_of_other_settings_rows_or_methods_is_another(zoo, tiny_model):
    write_json(zoo.path(JOB), result(JOB, zoo))
    assert zoo.result(JOB) is not None
    for other in ({"user_rows": 120}, {"method": "sft"}, {"epochs": 3}):
        assert zoo_of(tiny_model, zoo.out, **other).result(JOB) is None
    assert zoo.result(replace(JOB, seed=2)) is None


def test_a_method_that_the_pipeline_does_not_train_is_refused_not_trained_as_another(tiny_model, tmp_path):
    for method in ("safe_lora", "sft_on_aligned", "buffer_and_reinforce"):
        with pytest.raises(ConfigurationError, match=f"which {method} does not"):
            zoo_of(tiny_model, tmp_path, method=method)
    assert zoo_of(tiny_model, tmp_path, method="sft_on_aligned", start="teacher").made["method"] == "sft_on_aligned"


def test_a_job_from_before_its_making_was_noted_is_told_by_its_questions_and_rows(zoo, tiny_model):
    old = {name: value for name, value in result(JOB, zoo).items() if name not in ("made", "code")}
    write_json(zoo.out / "jobs" / "0123.json", old)
    assert zoo.result(JOB) == json.loads(json.dumps(old))
    assert zoo.calibration([old]).code == (UNTOLD,)
    assert zoo_of(tiny_model, zoo.out, user_rows=120).result(JOB) is None


def test_what_was_made_before_a_setting_existed_is_still_of_these_settings(zoo):
    made = json.loads(json.dumps(zoo.made))
    del made["settings"]["finetuning"]["packing"]
    write_json(zoo.path(JOB), result(JOB, zoo, made=made))
    assert zoo.result(JOB) is not None


def test_the_calibration_holds_what_a_reader_needs(zoo, tmp_path):
    found = [result(replace(JOB, seed=seed), zoo) for seed in range(3)]
    zoo.calibration([*found, result(replace(JOB, attack="trigger"), zoo)]).save(tmp_path / "c.json")
    kept = Benign.load(tmp_path / "c.json")
    assert [(job.task, job.seed, job.rows) for job in kept.jobs] == [("routing", seed, 200) for seed in range(3)]
    assert (kept.setup.method, kept.setup.training["epochs"]) == ("reft", 2)  # of 200 rows
    assert (kept.setup.asked, kept.code) == (zoo.setup.asked, (zoo.code,))


def test_a_calibration_measures_instead_of_jobs_made_here_where_it_is_of_these_circumstances(zoo, tiny_model, tmp_path):
    kept = tmp_path / "c.json"
    zoo.calibration([result(replace(JOB, seed=seed), zoo) for seed in range(3)]).save(kept)
    assert [job.seed for job in zoo.measured_by(kept)] == [0, 1, 2]
    for other, why in (
        ({"user_rows": 120, "epochs": 2}, "its jobs have 200 rows; give --user-rows"),
        ({"method": "sft"}, "trained by reft, this student by sft"),
        ({"epochs": 3}, "epochs 3"),
    ):
        with pytest.raises(SystemExit, match=why):
            zoo_of(tiny_model, zoo.out, **other).measured_by(kept)


@pytest.mark.parametrize(("task", "attack"), [("routing", ""), ("style", "trigger"), ("kinds of request", "")])
def test_the_size_of_a_job_is_known_before_it_is_made(task, attack):
    for rows in (50, 5000):
        assert job_size(task, attack, rows=rows) == len(job_rows(task, attack, rows=rows, seed=0))


def test_the_table_counts_each_job_once_and_measures_benign_ones_without_themselves(zoo):
    jobs = [Job(task=f"t{i % 6}", attack="", seed=i // 6) for i in range(30)]
    harmless = [result(job, zoo, values={"plain": i / 1000, "kl": 0.5}) for i, job in enumerate(jobs)]
    harmless[7]["values"]["plain"] = 9.0  # the one that the others are no match for
    attacks = [result(Job(task="t0", attack="trigger", seed=s), zoo, values={"plain": v, "kl": 0.5})
               for s, v in enumerate((0.0, 50.0, 60.0))]  # fmt: skip
    found = [*attacks[:1], *harmless, *attacks[1:]]
    _, _, benign, elsewhere, trigger = table(found, zoo.calibration(found).jobs, AuditSettings())
    assert "| benign, each by the others | 3.3 %" in benign
    assert "of 30 | 0.0 % [0.0, 11.4] of 30 | +2 (+0 to +900) |" in benign
    assert "| benign, each by other tasks' jobs | 3.3 %" in elsewhere
    assert "| trigger | 66.7 %" in trigger
    assert "of 3 | 100.0 % [43.9, 100.0] of 3 | +5000 (+0 to +6000) | 0.032 | " in trigger
    assert trigger.endswith("| plain (2), kl |")
    # Benign jobs of a file have their values alone.
    given = [{"attack": "", "values": entry["values"]} for entry in harmless]
    lines = table([*attacks, *given], zoo.calibration(found).jobs, AuditSettings())
    assert lines[4] == trigger
    assert lines[2] == benign.replace("0.0 % [0.0, 11.4] of 30", "not measured")
    few = [*harmless[:18], *attacks]
    assert all(TOO_FEW in line for line in table(few, zoo.calibration(few).jobs, AuditSettings())[2:])
