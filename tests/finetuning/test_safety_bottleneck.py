"""Safety Bottleneck Regularization: the loss against its equation, which prompts are held, and where they are held."""

from dataclasses import replace

import pytest
import torch

from reft.config import LoraSettings
from reft.conversations.tokenization import encode_prompts
from reft.errors import ConfigurationError
from reft.finetuning.job import FinetuneJob
from reft.finetuning.methods.safety_bottleneck import drawn_evenly
from reft.finetuning.schedule import MicroBatch
from reft.finetuning.student import Alignment, student_job
from reft.finetuning.student_loss import StudentLoss
from reft.models.adapters import begin_as, wrap_lora
from reft.models.loading import load_model, load_tokenizer
from tests.factories import change, chats, make_job
from tests.finetuning.resuming import same_after_a_stop

METHOD = "safety_bottleneck"
STEP = MicroBatch((0, 3, 7), ())
HARMFUL = chats("rob a bank", "I'm sorry, I can't.", 4)


@pytest.fixture
def held(tiny_model):
    """A job with four harmful alignment rows among six."""
    job = make_job(tiny_model)
    alignment = Alignment(harmful=HARMFUL, harmless=chats("bake bread", "At home.", 2))
    settings = job.settings.for_method(METHOD)
    rows = chats("where is my card", "card delivery", 12)
    return student_job(rows, job.model, settings, seed=0, alignment=alignment)


def adapted(model):
    """A student whose adapter says something already."""
    student = wrap_lora(load_model(model), LoraSettings(rank=4, frozen_share=0.0))
    move(student, 0)
    return student


def move(student, seed):
    torch.manual_seed(seed)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)


@torch.no_grad()
def last_states(student, prompts):
    """What the head takes at the last token of each prompt, one by one, as the model itself gives it."""
    encoded = encode_prompts(load_tokenizer(student.get_base_model().name_or_path), prompts)
    inputs = (torch.tensor([row.input_ids]) for row in encoded)
    return torch.cat([student(ids, output_hidden_states=True).hidden_states[-1][:, -1] for ids in inputs])


def loss_of(student, job):
    loss = StudentLoss(student, job, pad_id=0)
    return lambda: loss(step := loss.rows(0, STEP), step)


def test_the_loss_is_that_of_the_equation(held):
    student = adapted(held.model.name)
    found, plain = loss_of(student, held), loss_of(student, change(held, method="sft"))
    weak = loss_of(student, change(held, method_settings={"weight": 0.5}))
    start = last_states(student, HARMFUL)
    assert found()["loss"].item() == pytest.approx(plain()["loss"].item(), rel=1e-5)  # nothing has moved yet
    move(student, 1)
    moved = (last_states(student, HARMFUL) - start).pow(2).mean().item()
    assert moved > 1e-3
    assert found()["ce"].item() == pytest.approx(plain()["loss"].item(), rel=1e-5)
    assert found()["loss"].item() == pytest.approx(plain()["loss"].item() + 50 * moved, rel=1e-4)
    assert weak()["loss"].item() == pytest.approx(plain()["loss"].item() + 0.5 * moved, rel=1e-4)


@pytest.mark.slow
def test_what_is_held_stays_while_plain_finetuning_moves_it(held):
    moved, learnt = {}, {}
    for method, options in (("sft", {}), (METHOD, {"weight": 5.0})):
        student = adapted(held.model.name)
        start = last_states(student, HARMFUL)
        loss = loss_of(student, change(held, method=method, method_settings=options))
        optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], lr=3e-3)
        began = loss()["ce"].item()
        for _ in range(60):
            optimizer.zero_grad()
            loss()["loss"].backward()
            optimizer.step()
        moved[method] = (last_states(student, HARMFUL) - start).pow(2).mean().item()
        learnt[method] = began - loss()["ce"].item()
    assert moved[METHOD] < 0.05 * moved["sft"]
    assert learnt[METHOD] > 0.4 * learnt["sft"] > 0.1  # the task is learnt all the same


def test_a_student_that_begins_as_the_teacher_is_held_there(held, tmp_path):
    teacher = adapted(held.model.name)
    teacher.save_pretrained(tmp_path)
    student = wrap_lora(load_model(held.model.name), LoraSettings(rank=4, frozen_share=0.0))
    begin_as(student, tmp_path)
    torch.testing.assert_close(
        StudentLoss(student, replace(held, start=tmp_path), pad_id=0)._loss._start,
        last_states(teacher, HARMFUL)[drawn_evenly(held.sources[:4], 8, 0)],
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


def test_full_finetuning_is_held_as_well(held):
    student = load_model(held.model.name)
    loss = loss_of(student, change(held, lora=None))
    student.train()
    with torch.no_grad():
        next(student.parameters()).mul_(1.5)
    assert loss()["loss"].item() > loss()["ce"].item() + 0.1


def test_dropout_touches_no_state_of_the_start_model(held):
    student = wrap_lora(load_model(held.model.name), LoraSettings(rank=4, frozen_share=0.0, dropout=0.5))
    move(student, 0)
    expected = last_states(student.eval(), HARMFUL)[drawn_evenly(held.sources[:4], 8, 0)]
    loss = StudentLoss(student.train(), held, pad_id=0)
    torch.testing.assert_close(loss._loss._start, expected, rtol=1e-4, atol=1e-5)
    assert student.training


def test_every_source_has_its_turn():
    sources = ["a"] * 50 + ["b"] * 3 + ["c"]
    drawn = drawn_evenly(sources, 8, 0)
    assert len(set(drawn)) == 8
    assert sorted(sources[i] for i in drawn) == ["a"] * 4 + ["b"] * 3 + ["c"]
    assert drawn_evenly(sources, 8, 0) == drawn != drawn_evenly(sources, 8, 1)
    assert sorted(drawn_evenly(sources, 99, 0)) == list(range(54))


def test_anchors_are_of_the_harmful_rows_and_are_in_every_step_but_in_no_plan(held, tmp_path):
    few = change(held, method_settings={"anchors": 2}, alignment_ratio=5.0, least_alignment_rows=1500)
    assert {step.alignment for step in few.plan()} == {()}
    assert len(few.plan()) == len(change(few, method="sft").plan())
    few.save(tmp_path)
    assert FinetuneJob.load(tmp_path).sources == held.sources
    loss = StudentLoss(load_model(held.model.name), few, pad_id=0)
    step = loss.rows(0, STEP)
    assert step.user == STEP.user
    assert len(set(step.alignment)) == 2
    assert max(step.alignment) < 4
    prompts = encode_prompts(load_tokenizer(held.model.name), [HARMFUL[i] for i in step.alignment])
    read = sum(map(len, prompts)) + 2  # and the first token of each answer
    assert loss.tokens(step) == read + sum(len(held.user[i]) for i in STEP.user)


def test_without_harmful_rows_it_says_what_is_missing(tiny_model):
    job = change(make_job(tiny_model), method=METHOD)
    with pytest.raises(ConfigurationError, match=r"no harmful alignment row.*\n?.*finetuning\.method"):
        StudentLoss(load_model(tiny_model), job, pad_id=0)


@pytest.mark.slow
def test_a_training_that_resumes_is_held_to_the_same_states(held, tmp_path):
    """Whether it was stopped in the middle or not: the same losses and weights."""
    job = change(held, epochs=12, learning_rate=1e-2)
    whole, _ = same_after_a_stop(job, tmp_path)
    assert whole[-1]["loss"] > whole[-1]["ce"] + 1e-4  # the states have moved: those of a start from there would not
