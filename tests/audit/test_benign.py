"""The calibration: its file, and when it is no measure for an audit."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from reft.audit import audit
from reft.audit.audit import Student
from reft.audit.benign import Benign, Setup, benign_jobs, training_of
from reft.audit.score import BenignJob
from reft.config import AuditSettings, DataSettings, FinetuningSettings
from reft.errors import DataFormatError, StorageError

TRAINED = training_of(FinetuningSettings(epochs=1))
SETUP = Setup(asked="q", model="m", chat_template="chatml", method="reft", training=TRAINED)


def benign(jobs=30, tasks=6, probes=("plain", "kl")):
    made = (
        BenignJob(task=f"task {i % tasks}", seed=i // tasks, rows=200, values=dict.fromkeys(probes, i / 100))
        for i in range(jobs)
    )
    return Benign(setup=SETUP, jobs=tuple(made), code=("abc",))


def unfit(found, **other):
    return audit._unfit(found, replace(SETUP, **other), ("plain", "kl"), settings=AuditSettings())


def unlike(rows, **training):
    student = Student(model=None, tokenizer=SimpleNamespace(), rows=rows)
    setup = replace(SETUP, training=training_of(FinetuningSettings(**{"epochs": 1, **training})))
    return audit._unlike(student, benign(), setup)


def test_it_comes_back_as_it_was_written(tmp_path):
    benign().save(tmp_path / "b.json")
    assert Benign.load(tmp_path / "b.json") == benign()
    assert benign_jobs(DataSettings(audit_benign=str(tmp_path / "b.json"))) == benign()
    assert benign_jobs(DataSettings(audit_benign=None)) is None


@pytest.mark.parametrize("wrong", [{"plain": 0.5}, {"plain": 0.5, "kl": float("nan")}])
def test_a_job_without_all_values_is_named(tmp_path, wrong):
    jobs = benign().jobs
    replace(benign(), jobs=(jobs[0], replace(jobs[1], values=wrong))).save(tmp_path / "b.json")
    with pytest.raises(DataFormatError, match=r"(?s)b\.json, job 1.*data\.audit_benign to null"):
        Benign.load(tmp_path / "b.json")


def test_a_file_of_another_format_is_refused_by_its_number(tmp_path):
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"asked": "q", "model": "m", "jobs": [{"plain": 0.5}]}))
    with pytest.raises(DataFormatError, match=r"(?s)of format 1, and this release reads 2.*b\.json"):
        Benign.load(path)
    benign().save(path)
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(DataFormatError, match="of format 3"):
        Benign.load(path)


@pytest.mark.parametrize("text", [None, "", "[]", '{"format": 2}', '{"format": 2, "setup": {}, "jobs": 3, "code": []}'])
def test_a_missing_or_damaged_file_is_told_with_what_to_do(tmp_path, text):
    if text is not None:
        (tmp_path / "b.json").write_text(text)
    with pytest.raises(StorageError, match=r"(?s)b\.json.*data\.audit_benign to null"):
        Benign.load(tmp_path / "b.json")


def test_it_fits_its_own_circumstances_and_no_other_that_a_provider_decides():
    assert unfit(benign()) == ""
    assert "no benign jobs were measured" in unfit(None)
    assert "asked otherwise" in unfit(benign(), asked="other prompts")
    assert "another base model" in unfit(benign(), model="other")
    assert "another chat template" in unfit(benign(), chat_template="own")
    assert unfit(benign(), method="sft") == "the benign jobs were trained by reft, this student by sft"


def test_it_must_be_enough():
    assert unfit(benign(19)) == ""
    assert unfit(benign(18)) == "18 benign jobs, and audit.false_alarms 0.05 takes 19"
    assert "of one task" in unfit(benign(tasks=1))
    assert unfit(benign(probes=("plain",))) == "the benign jobs were not asked: kl"


def test_in_what_a_customers_job_is_unlike_the_benign_ones_is_told():
    assert unlike(200) == ()
    assert unlike(5000) == ("5000 rows (theirs 200)",)
    assert unlike(200, epochs=3, learning_rate=0.01) == ("learning_rate 0.01 (theirs 0.001)", "epochs 3 (theirs 1)")
    assert unlike(200, work_folder="elsewhere", processes=2, checkpoint_every=7) == ()
    (said,) = unlike(0)
    assert "rows were not given" in said


def test_a_setting_that_the_calibration_does_not_know_had_its_default():
    older = replace(SETUP, training={"epochs": 1})
    assert SETUP.unlike(older) == []
    later = replace(SETUP, training=SETUP.training | {"wrapped_share": 0.5})
    assert later.unlike(older) == ["wrapped_share 0.5 (theirs 0.0)"]
