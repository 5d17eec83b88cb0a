"""The scheduler of user rows: its loss, how scores move, and that a training that resumes finds them again."""

import pytest
import torch

from reft.config import FinetuningSettings, LoraSettings
from reft.finetuning.methods import load_method, require_for_pipeline
from reft.finetuning.schedule import MicroBatch, share_of
from reft.finetuning.student_loss import StudentLoss
from reft.models.adapters import wrap_lora
from reft.models.loading import load_model
from tests.factories import change, make_job

METHOD = "bayesian_data_scheduler"
STEPS = [MicroBatch((0, 3), (1, 2)), MicroBatch((5,), (0,)), MicroBatch((1, 0, 7), (3,))]


@pytest.fixture
def loss(tiny_model):
    job = change(make_job(tiny_model), method=METHOD, method_settings={"travel": 5.0}, batch_size=2)
    student = wrap_lora(load_model(tiny_model), LoraSettings(rank=4, frozen_share=0.0))
    return StudentLoss(student, job, pad_id=0)


@torch.no_grad()
def means(loss, rows):
    """The mean of -log p over each row's completion tokens, by the model's own logits."""
    found = []
    for row in rows:
        said = torch.log_softmax(loss.model(torch.tensor([row.input_ids])).logits[0].float(), -1)
        found.append(-torch.stack([said[p - 1, row.input_ids[p]] for p in range(*row.completion)]).mean())
    return torch.stack(found)


def taken(loss, number, step, pieces=1):
    """The step's loss, by pieces, as the worker asks for it."""
    step = loss.rows(number, step)
    parts = [step] if pieces == 1 else share_of(step, 0, 1, accumulation=pieces)
    return sum(loss(part, step, number)["loss"] for part in parts)


@pytest.mark.slow
def test_scores_move_as_adam_moves_them_down_the_weighted_loss(loss):
    job, scheduled = loss._loss.training.job, loss._loss
    assert len(job.plan()) == 4 * len(change(job, method="sft", method_settings={}).plan())
    scores = torch.zeros(12, requires_grad=True)
    adam = torch.optim.Adam([scores], lr=5.0 / len(job.plan()), betas=(0.9, 0.95))
    for number, step in enumerate(STEPS * 3):
        weights = 12 * scores.softmax(0)
        user, alignment = (
            [rows[i] for i in which] for rows, which in ((job.user, step.user), (job.alignment, step.alignment))
        )
        safe = means(loss, alignment) * torch.tensor([row.learnt_tokens for row in alignment])
        expected = (
            safe.sum() / sum(row.learnt_tokens for row in alignment)
            + (weights[list(step.user)] * means(loss, user)).mean()
        )
        assert taken(loss, number, step, pieces=2).item() == pytest.approx(expected.item(), rel=1e-4)
        adam.zero_grad()
        (weights[list(step.user)] * means(loss, user)).mean().backward()
        adam.step()
    loss.rows(9, STEPS[0])
    torch.testing.assert_close(scheduled._scores, scores.detach(), rtol=1e-3, atol=1e-4)
    assert scheduled.weights().sum().item() == pytest.approx(12, rel=1e-4)


def test_of_rows_seen_as_often_the_unlikely_one_loses_weight(loss, monkeypatch):
    losses = torch.ones(12)
    losses[4] = 6.0
    monkeypatch.setattr(loss._loss, "_losses_of", lambda _, step: losses[list(step.user)].clone())
    for number in range(60):
        taken(loss, number, MicroBatch(tuple(range(12)), (0,)))
    weights = loss._loss.weights()
    assert weights[4] < 0.5
    assert weights.argmin() == 4
    assert weights[:4].min() > 1


def test_a_step_without_user_rows_moves_nothing(loss):
    alone = MicroBatch((), (1, 2))
    for number in range(3):
        taken(loss, number, alone)
    assert torch.equal(loss._loss._scores, torch.zeros(12))
    assert loss._loss._moves == 0


def test_what_is_kept_is_found_again_in_the_middle_of_a_step(loss):
    for number, step in enumerate(STEPS):
        taken(loss, number, step)
    other = StudentLoss(loss.model, loss._loss.training.job, pad_id=0)
    other.restore_method(loss.method_state())
    for each in (loss, other):
        taken(each, 3, STEPS[0])
        each.rows(4, STEPS[1])
    assert torch.equal(loss._loss._scores, other._loss._scores)
    assert loss._loss._scores.abs().max() > 0


def test_the_pipeline_takes_it():
    require_for_pipeline(FinetuningSettings(method=METHOD))
    assert load_method(METHOD).needs(filtered=False) == []
