"""One path of training: the comparison's student is the one that the pipeline's steps make, bit for bit."""

import math

import pytest
import torch
from safetensors.torch import load_file

from reft.comparison.cell import Cell, CellInputs, answers_of
from reft.comparison.tasks import Task, draw
from reft.comparison.teachers import Teachers
from reft.config import ClusterSettings
from reft.filtering.artifact import FilteredData
from reft.finetuning.artifact import Student
from reft.teacher.artifact import Teacher
from reft.validation.validate import ValidatedData
from steps.calibration import calibration
from steps.filtering import filtering
from steps.finetuning import finetuning
from steps.refusal_feature import refusal_feature
from steps.sft import sft
from steps.soft_labels import soft_labels
from steps.teacher import teacher
from tests.factories import chats

KEY = {"key": {}}


@pytest.fixture(scope="module")
def task():
    return Task("t", chats("where is my card", "card delivery", 30), chats("how to rob a bank", "Sure.", 6), [])


def trained_by_the_steps(run, rows) -> dict[str, Student]:
    """The steps of the pipeline one after another, as ZenML calls them."""
    validated = ValidatedData(rows=rows, quarantined=[], checks=[])
    feature = refusal_feature.entrypoint(run.model, run.data, run.refusal_feature, **KEY)
    made: Teacher = teacher.entrypoint(
        feature, run.model, run.data, settings=run.teacher, selection=run.refusal_feature, seed=run.seed, **KEY
    )
    labels = soft_labels.entrypoint(made, run.model, run.data, settings=run.soft_labels, **KEY)
    filtered: FilteredData = filtering.entrypoint(
        validated, made, run, provider=calibration.entrypoint(made, run, **KEY), **KEY
    )
    assert 0 < len(filtered.kept) < len(rows)
    cluster = {"cluster": ClusterSettings(), "seed": run.seed, **KEY}
    return {
        "reft": finetuning.entrypoint(
            filtered, run.model, run.data, settings=run.finetuning, temperature=run.soft_labels.temperature,
            teacher=made, soft_labels=labels, **cluster,
        ),
        "sft": sft.entrypoint(validated, run.model, run.finetuning, **cluster),
    }  # fmt: skip


@pytest.mark.slow
def test_the_aligned_model_is_the_teacher_wherever_students_begin(small, task, tmp_path):
    run = small.run
    run = run.model_copy(update={"finetuning": run.finetuning.model_copy(update={"start": "teacher"})})
    prepared = Teachers(tmp_path / "teachers").of(run)
    cell = Cell(method="aligned", filtered=False, task="t", poison_ratio=0.2, seed=run.seed)
    given = CellInputs(
        run=run, task=task, user_rows=small.user_rows, prepared=prepared, adapter=tmp_path / "a", work=tmp_path / "w"
    )
    assert answers_of(cell, given)["start"] == str(prepared.aligned)


@pytest.mark.slow
def test_steps_and_comparison_make_the_same_student(small, task, tmp_path, monkeypatch):
    monkeypatch.setattr("reft.config.training.ENOUGH_ROWS", 45)  # two passes over all rows, more over what is left
    run = small.run
    run = run.model_copy(update={"finetuning": run.finetuning.model_copy(update={"work_folder": str(tmp_path / "w")})})
    rows = draw(task, small.user_rows, 0.2, seed=run.seed).rows
    students = trained_by_the_steps(run, rows)
    assert run.finetuning.passes(students["reft"].rows) > 2
    for student in students.values():  # as often with a filter as without
        with_user_rows = sum(step["ce"] > 0 for step in student.history)
        assert with_user_rows == 2 * math.ceil(student.rows / run.finetuning.batch_size)
    for method, filtered in (("reft", True), ("sft", False)):
        adapter = tmp_path / method
        cell = Cell(method=method, filtered=filtered, task="t", poison_ratio=0.2, seed=run.seed)
        given = CellInputs(
            run=run, task=task, user_rows=small.user_rows, prepared=Teachers(tmp_path / "teachers").of(run),
            adapter=adapter, work=tmp_path / "work",
        )  # fmt: skip
        answers_of(cell, given)
        steps, comparison = (load_file(at / "adapter_model.safetensors") for at in (students[method].weights, adapter))
        assert steps.keys() == comparison.keys()
        for name, weight in steps.items():
            assert torch.equal(weight, comparison[name]), (method, name)
        assert any(weight.any() for name, weight in steps.items() if "lora_B" in name)  # it learnt
