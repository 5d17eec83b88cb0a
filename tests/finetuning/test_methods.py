"""Each method's own loss against its paper's equation, written out."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reft.config import FinetuningSettings, LoraSettings
from reft.conversations.tokenization import encode_all
from reft.errors import ConfigurationError
from reft.finetuning.methods import Provided, load_method, method_names, require_fitting, require_for_pipeline
from reft.finetuning.methods._losses import Training
from reft.finetuning.methods.constrained_sft import ConstraintSettings, constrained, token_strengths
from reft.finetuning.methods.lisa import LisaSettings, proximal
from reft.finetuning.methods.safe_lora import SafeLoraSettings, project, project_adapter
from reft.finetuning.schedule import MicroBatch, share_of
from reft.models.adapters import wrap_lora
from reft.models.loading import load_model, load_tokenizer
from tests.factories import chats, make_job

STEP = MicroBatch((0, 3), (1, 2))


@pytest.fixture
def training(tiny_model):
    torch.manual_seed(0)
    model = wrap_lora(load_model(tiny_model), LoraSettings(rank=4, frozen_share=0.0))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
    job = replace(make_job(tiny_model), harmful=4, start=Path("teacher"))
    return Training(model=model, job=job, pad_id=0)


def loss_of(name, training):
    """The loss of a step's piece, as a number that has a gradient; the rows that the method takes of the step."""
    method = load_method(name)
    found = method.loss(replace(training, options=method.options({})))

    def loss(number, piece, step):
        taken = (
            [found.rows(number, step)] if piece is step else share_of(found.rows(number, step), 0, 1, accumulation=2)
        )
        return [found(number, part, found.rows(number, step))["loss"] for part in taken]

    return loss


def mean_ce(training, rows):
    return -naive_log_probs(training.model, rows).mean().item()


def naive_log_probs(model, rows):
    found = []
    for row in rows:
        said = torch.log_softmax(model(torch.tensor([row.input_ids])).logits[0].float(), -1)
        found += [said[p - 1, row.input_ids[p]] for p in range(*row.completion)]
    return torch.stack(found)


def test_plain_and_joint(training):
    user, alignment = (
        naive_log_probs(training.model, rows) for rows in (training.user(STEP), training.alignment(STEP))
    )
    plain = loss_of("sft", training)(0, STEP, STEP)[0]
    assert plain.item() == pytest.approx(-user.mean().item(), rel=1e-4)
    joint = loss_of("joint_sft", training)(0, STEP, STEP)[0]
    assert joint.item() == pytest.approx(-user.mean().item() - alignment.mean().item(), rel=1e-4)


def test_lisa_alternates_and_holds_on_to_the_other_state(training):
    loss, options = loss_of("lisa", training), LisaSettings()
    assert loss(0, STEP, STEP)[0].item() == pytest.approx(mean_ce(training, training.alignment(STEP)), rel=1e-4)
    moved = [p for p in training.model.parameters() if p.requires_grad]
    with torch.no_grad():
        moved[0] += 0.5
    distance = options.rho / 2 * 0.25 * moved[0].numel()
    after = mean_ce(training, training.alignment(STEP))
    assert loss(1, STEP, STEP)[0].item() == pytest.approx(after + distance, rel=1e-4)
    user = mean_ce(training, training.user(STEP))
    assert loss(options.steps, STEP, STEP)[0].item() == pytest.approx(user, rel=1e-4)  # a new anchor
    assert proximal([torch.ones(3)], [torch.zeros(3)], 2.0).item() == 3.0


def test_constrained_sft(training):
    rows = training.user(STEP)
    found = naive_log_probs(training.model, rows)
    with training.model.disable_adapter():
        reference = naive_log_probs(training.model, rows)
    terms, place = [], 0
    for row in rows:
        for t in range(row.completion[1] - row.completion[0]):
            beta = 0.5 if t == 0 else 2.0 if t < 5 else 0.1
            ratio = (found[place] - reference[place]).item()
            terms.append(-2 / beta * math.log(1 / (1 + math.exp(-beta * ratio))))
            place += 1
    loss = loss_of("constrained_sft", training)(0, STEP, STEP)[0]
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-3)


def test_a_weak_constraint_has_the_gradient_of_cross_entropy():
    log_probs = torch.tensor([-1.0, -3.0, -0.2], requires_grad=True)
    constrained(log_probs, torch.tensor([-2.0, -1.0, -0.1]), torch.full((3,), 1e-4)).mean().backward()
    torch.testing.assert_close(log_probs.grad, torch.full((3,), -1 / 3), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in method_names() if load_method(name).loss])
def test_the_parts_of_a_step_add_up_to_it(training, name):
    loss, steps = loss_of(name, training), LisaSettings().steps
    loss(0, STEP, STEP)  # Lisa's anchor
    with torch.no_grad():
        next(p for p in training.model.parameters() if p.requires_grad).add_(0.1)
    for number in (0, steps - 1, steps + 1):  # Lisa's two states, near and away from the anchor
        [whole] = loss(number, STEP, STEP)
        parts = [part.item() for part in loss(number, None, STEP)]
        assert len(parts) == 2
        assert sum(parts) == pytest.approx(whole.item(), rel=1e-4)
        assert parts[0] != 0


@pytest.mark.parametrize("name", [name for name in method_names() if load_method(name).loss])
def test_a_rank_without_rows_adds_nothing_and_still_has_a_gradient(training, name):
    method = load_method(name)
    found = method.loss(replace(training, options=method.options({})))
    nothing = found(0, MicroBatch((), ()), found.rows(0, STEP))["loss"]
    assert nothing.item() == 0
    nothing.backward()  # the collective work of ZeRO 3 needs every rank in it


def test_a_method_takes_its_own_settings_and_no_others():
    assert load_method("lisa").options({"rho": 1.0}) == LisaSettings(rho=1.0)
    with pytest.raises(ConfigurationError, match="it takes steps, rho"):
        load_method("lisa").options({"roh": 1.0})
    with pytest.raises(ConfigurationError, match="it takes nothing"):
        load_method("sft").options({"rho": 1.0})
    with pytest.raises(ConfigurationError, match="there is no 'sfft'"):
        load_method("sfft")


@pytest.mark.parametrize("name", ["reft", "sft", "joint_sft", "interleaved_sft"])
def test_the_pipeline_takes_methods_that_begin_as_a_model_that_it_has(name):
    require_for_pipeline(FinetuningSettings(method=name))


@pytest.mark.parametrize(
    "name", ["none", "aligned", "oracle", "lisa", "safe_lora", "sft_on_aligned", "buffer_and_reinforce"]
)
def test_the_pipeline_refuses_the_others_before_anything_is_trained(name):
    with pytest.raises(ConfigurationError, match=f"which {name} does not"):
        require_for_pipeline(FinetuningSettings(method=name))


@pytest.mark.parametrize("name", ["lisa", "sft_on_aligned", "reft_from_aligned", "safety_bottleneck"])
def test_a_student_that_begins_as_the_teacher_is_the_aligned_model_in_the_pipeline_too(name):
    begins = FinetuningSettings(method=name, start="teacher")
    require_for_pipeline(begins)
    assert load_method(name).begins_as_teacher(begins)
    assert not load_method(name).begins_as_teacher(FinetuningSettings(method=name))
    with pytest.raises(ConfigurationError, match=f"which {name} does not[\\s\\S]*finetuning.start: teacher"):
        require_for_pipeline(FinetuningSettings(method=name))


@pytest.mark.parametrize("name", ["constrained_sft", "safe_lora", "buffer_and_reinforce"])
def test_what_looks_below_the_adapter_would_find_no_aligned_model_there(name):
    begins = FinetuningSettings(method=name, start="teacher")
    assert not load_method(name).begins_as_teacher(begins)
    with pytest.raises(ConfigurationError, match=f"which {name} does not") as refused:
        require_for_pipeline(begins)
    assert "finetuning.start" not in str(refused.value)


def test_in_a_comparison_the_base_model_begins_as_the_teacher_only_where_it_distils():
    for start in ("auto", "teacher"):
        settings = FinetuningSettings(start=start)
        begin = {name for name in ("reft", "sft", "joint_sft") if load_method(name).begins_as_teacher(settings)}
        assert begin == {"reft"}


def test_a_method_that_does_not_fit_is_refused_before_anything_is_trained():
    with pytest.raises(ConfigurationError, match="lisa needs its weights whole"):
        require_fitting(FinetuningSettings(method="lisa", zero_stage=3))
    with pytest.raises(ConfigurationError, match="compares with the model below its adapter"):
        require_fitting(FinetuningSettings(method="constrained_sft", lora=None))


def test_strengths_by_place_in_the_answer(tiny_model):
    rows = encode_all(load_tokenizer(tiny_model), chats("a", "Where at home?", 2))
    lengths = [row.completion[1] - row.completion[0] for row in rows]
    expected = [v for n in lengths for v in ([1.0] + [2.0] * 4 + [3.0] * n)[:n]]
    assert token_strengths(rows, ConstraintSettings(first=1.0, early=2.0, later=3.0)).tolist() == expected


def test_safe_lora_projects_what_points_away():
    torch.manual_seed(1)
    alignment, update = torch.randn(6, 4), torch.randn(6, 4)
    c = alignment @ alignment.T / alignment.norm()
    projected, cosine = project(update, alignment)
    torch.testing.assert_close(projected, c @ update)
    expected = (update * (c @ update)).sum() / update.norm() / (c @ update).norm()
    assert cosine == pytest.approx(expected.item(), rel=1e-4)


def updates_of(folder):
    """Every update B A of an adapter's file, by the name of the matrix that it changes."""
    weights = load_file(folder / "adapter_model.safetensors")
    names = [name.removesuffix(".lora_B.weight") for name in weights if name.endswith(".lora_B.weight")]
    return {
        f"{name.removeprefix('base_model.model.')}.weight": weights[f"{name}.lora_B.weight"]
        @ weights[f"{name}.lora_A.weight"]
        for name in names
    }


def test_safe_lora_projects_one_matrix_and_leaves_what_it_knows_nothing_of(training, tmp_path):
    training.model.save_pretrained(tmp_path)
    before = updates_of(tmp_path)
    name = "model.layers.1.mlp.down_proj.weight"
    torch.manual_seed(3)
    away = torch.outer(*(torch.randn(size) for size in before[name].shape)) * 0.01
    project_adapter(tmp_path, Provided(aligned_minus_base=lambda: {name: away}), SafeLoraSettings())
    after = updates_of(tmp_path)
    torch.testing.assert_close(after[name], away @ (away.T @ before[name]) / away.norm(), rtol=1e-3, atol=1e-6)
    assert all(torch.equal(after[other], before[other]) for other in before if other != name)


def test_safe_lora_projects_the_share_that_points_away_most(training, tmp_path):
    training.model.save_pretrained(tmp_path)
    before = updates_of(tmp_path)
    torch.manual_seed(2)
    alignments = {name: torch.outer(*(torch.randn(size) for size in u.shape)) for name, u in before.items()}
    cosines = {name: project(before[name], alignments[name])[1] for name in before}
    project_adapter(tmp_path, Provided(aligned_minus_base=lambda: alignments), SafeLoraSettings(share=0.25))
    after = updates_of(tmp_path)
    count = math.ceil(0.25 * len(before))
    lowest = sorted(cosines, key=cosines.get)[:count]
    assert 0 < count < len(before)
    assert {name for name in before if not torch.equal(after[name], before[name])} == set(lowest)
