"""Interleaving by perplexity gap: which rows are chosen, where they stand, and what is learnt of them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reft.config import FinetuningSettings, LoraSettings
from reft.errors import ConfigurationError
from reft.finetuning.methods import load_method, require_fitting, require_for_pipeline
from reft.finetuning.student_loss import StudentLoss
from reft.models.adapters import wrap_lora
from reft.models.loading import load_model
from tests.factories import change, make_job

METHOD = "interleaved_sft"


@pytest.fixture(scope="module")
def job(tiny_model):
    """Twelve user rows, six alignment rows; a student that begins as a teacher."""
    return replace(change(make_job(tiny_model), method=METHOD, batch_size=2), start=Path("teacher"))


def teacher_on(model):
    torch.manual_seed(0)
    student = wrap_lora(load_model(model), LoraSettings(rank=4, frozen_share=0.0, dropout=0.3))
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return student.train()


@torch.no_grad()
def losses_of(model, row):
    """-log p of each completion token, by the model's own logits."""
    said = torch.log_softmax(model(torch.tensor([row.input_ids])).logits[0].float(), -1)
    return [-said[p - 1, row.input_ids[p]].item() for p in range(*row.completion)]


def test_chosen_are_the_rows_that_the_aligned_model_likes_most_beside_the_base_model(job):
    student, base = teacher_on(job.model.name), load_model(job.model.name)
    loss = StudentLoss(student, change(job, method_settings={"share": 0.2}), pad_id=0)
    assert student.training
    assert all(p.requires_grad for name, p in student.named_parameters() if "lora" in name)
    student.eval()
    by_model = [[losses_of(model, row) for row in job.alignment] for model in (base, student)]
    before, after = ([math.exp(sum(found) / len(found)) for found in rows] for rows in by_model)
    gaps = [one - other for one, other in zip(before, after, strict=True)]
    assert min(gaps) < max(gaps) - 1
    torch.testing.assert_close(loss._loss._gaps(), torch.tensor(gaps), rtol=1e-3, atol=1e-2)
    expected = sorted(range(6), key=lambda row: -gaps[row])[:3]  # 3 of 15 rows
    assert sorted(loss._loss._chosen) == sorted(expected)


def test_they_stand_evenly_among_the_users_rows_once_in_an_epoch(job):
    loss = StudentLoss(teacher_on(job.model.name), change(job, method_settings={"share": 0.2}), pad_id=0)
    plan = job.plan()
    assert len(plan) == 12
    taken = [loss.rows(number, step) for number, step in enumerate(plan)]
    assert [step.user for step in taken] == [step.user for step in plan]
    for epoch in (taken[:6], taken[6:]):
        assert [len(step.alignment) for step in epoch] == [0, 1, 0, 1, 0, 1]
        assert len({row for step in epoch for row in step.alignment}) == 3
    few = StudentLoss(teacher_on(job.model.name), job, pad_id=0)
    assert sum(len(few.rows(number, step).alignment) for number, step in enumerate(plan[:6])) == 1  # 1 of 13
    assert few.rows(0, alone := replace(plan[0], user=(), alignment=(4,))) == alone


def test_they_are_learnt_as_if_they_stood_in_the_users_file(job):
    student = teacher_on(job.model.name)
    loss = StudentLoss(student, change(job, method_settings={"share": 0.2}), pad_id=0)
    student.eval()
    step = loss.rows(1, job.plan()[1])
    assert step.alignment
    rows = [*(job.user[i] for i in step.user), *(job.alignment[i] for i in step.alignment)]
    found = [value for row in rows for value in losses_of(student, row)]
    assert loss(step, step, 1)["loss"].item() == pytest.approx(sum(found) / len(found), rel=1e-4)
    assert loss.tokens(step) == sum(map(len, rows))


def test_a_student_that_does_not_begin_as_the_teacher_is_refused(job):
    student = teacher_on(job.model.name)
    for wrong in (replace(job, start=None), replace(job, alignment=())):
        with pytest.raises(ConfigurationError, match=r"(?s)does not begin there.*teacher\.lora"):
            StudentLoss(student, wrong, pad_id=0)
    with pytest.raises(ConfigurationError, match=r"(?s)the teacher's adapter.*finetuning\.start"):
        require_fitting(FinetuningSettings(method=METHOD, start="base"))
    with pytest.raises(ConfigurationError, match="below its adapter"):
        require_fitting(FinetuningSettings(method=METHOD, lora=None))


def test_the_pipeline_and_the_comparison_begin_it_as_the_teacher():
    settings = FinetuningSettings(method=METHOD)
    require_for_pipeline(settings)
    method = load_method(METHOD)
    assert method.begins_as_teacher(settings)
    assert method.needs(filtered=False) == ["teacher"]
