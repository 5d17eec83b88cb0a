"""Each method's own loss against its paper's equation, written out."""

import math

import pytest
import torch
from peft.tuners.lora import LoraLayer

from reft.comparison.losses import constrained, mean_cross_entropy, project, proximal, token_log_probs, token_strengths
from reft.comparison.methods import LISA_RHO, LISA_STEPS, METHODS, Training, project_adapter
from reft.config import LoraSettings
from reft.conversations.tokenization import encode_all
from reft.finetuning.schedule import MicroBatch, share_of
from reft.models.adapters import wrap_lora
from reft.models.loading import load_model, load_tokenizer
from tests.finetuning.conftest import chats, make_job

STEP = MicroBatch((0, 3), (1, 2))


@pytest.fixture
def training(tiny_model):
    torch.manual_seed(0)
    model = wrap_lora(load_model(tiny_model), LoraSettings(rank=4, frozen_share=0.0))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return Training(model, make_job(tiny_model), 0)


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
    plain = METHODS["sft"].loss(training)(0, STEP, STEP)
    assert plain.item() == pytest.approx(-user.mean().item(), rel=1e-4)
    joint = METHODS["joint sft"].loss(training)(0, STEP, STEP)
    assert joint.item() == pytest.approx(-user.mean().item() - alignment.mean().item(), rel=1e-4)


def test_lisa_alternates_and_holds_on_to_the_other_state(training):
    loss = METHODS["lisa"].loss(training)
    user, alignment = (
        mean_cross_entropy(training.model, rows, 0).item() for rows in (training.user(STEP), training.alignment(STEP))
    )
    assert loss(0, STEP, STEP).item() == pytest.approx(alignment, rel=1e-5)
    moved = [p for p in training.model.parameters() if p.requires_grad]
    with torch.no_grad():
        moved[0] += 0.5
    after = mean_cross_entropy(training.model, training.alignment(STEP), 0).item()
    distance = LISA_RHO / 2 * 0.25 * moved[0].numel()
    assert loss(1, STEP, STEP).item() == pytest.approx(after + distance, rel=1e-4)
    user = mean_cross_entropy(training.model, training.user(STEP), 0).item()
    assert loss(LISA_STEPS, STEP, STEP).item() == pytest.approx(user, rel=1e-5)  # a new anchor
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
    assert METHODS["constrained sft"].loss(training)(0, STEP, STEP).item() == pytest.approx(
        sum(terms) / len(terms), rel=1e-3
    )


def test_a_weak_constraint_has_the_gradient_of_cross_entropy():
    log_probs = torch.tensor([-1.0, -3.0, -0.2], requires_grad=True)
    constrained(log_probs, torch.tensor([-2.0, -1.0, -0.1]), torch.full((3,), 1e-4)).mean().backward()
    torch.testing.assert_close(log_probs.grad, torch.full((3,), -1 / 3), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.loss])
def test_the_parts_of_a_step_add_up_to_it(training, name):
    pieces = [MicroBatch((0,), (1,)), MicroBatch((3,), (2,)), MicroBatch((), ())]
    assert pieces[0] == share_of(STEP, 0, 1, accumulation=2)[0]
    loss = METHODS[name].loss(training)
    loss(0, STEP, STEP)  # Lisa's anchor
    with torch.no_grad():
        next(p for p in training.model.parameters() if p.requires_grad).add_(0.1)
    for number in (0, LISA_STEPS - 1, LISA_STEPS + 1):  # Lisa's two states, near and away from the anchor
        whole = loss(number, STEP, STEP).item()
        parts = [loss(number, piece, STEP).item() for piece in pieces]
        assert sum(parts) == pytest.approx(whole, rel=1e-4)
        assert parts[0] != 0


def test_strengths_by_place_in_the_answer(tiny_model):
    rows = encode_all(load_tokenizer(tiny_model), chats("a", "Where at home?", 2))
    lengths = [row.completion[1] - row.completion[0] for row in rows]
    expected = [v for n in lengths for v in ([1.0] + [2.0] * 4 + [3.0] * n)[:n]]
    assert token_strengths(rows, 1.0, 2.0, later=3.0).tolist() == expected
    assert len(token_log_probs(load_model(tiny_model), rows, 0)) == sum(lengths)


def test_safe_lora_projects_what_points_away(training, tiny_model):
    torch.manual_seed(1)
    alignment, update = torch.randn(6, 4), torch.randn(6, 4)
    c = alignment @ alignment.T / alignment.norm()
    projected, cosine = project(update, alignment)
    torch.testing.assert_close(projected, c @ update)
    expected = (update * (c @ update)).sum() / update.norm() / (c @ update).norm()
    assert cosine == pytest.approx(expected.item(), rel=1e-4)

    base = load_model(tiny_model).state_dict()
    name = "model.layers.1.mlp.down_proj.weight"
    away = torch.outer(*(torch.randn(size) for size in base[name].shape)) * 0.01  # few updates point along it
    layer = training.model.get_submodule(f"base_model.model.{name.removesuffix('.weight')}")
    before = (layer.lora_B["default"].weight @ layer.lora_A["default"].weight).detach().clone()
    other = training.model.get_submodule("base_model.model.model.layers.2.mlp.down_proj").lora_B["default"].weight
    untouched = other.detach().clone()
    project_adapter(training.model, {name: away})
    after = (layer.lora_B["default"].weight @ layer.lora_A["default"].weight).detach()
    torch.testing.assert_close(after, away @ (away.T @ before) / away.norm(), rtol=1e-3, atol=1e-6)
    assert torch.equal(other, untouched)  # nothing is known of what alignment did there


def test_safe_lora_projects_the_share_that_points_away_most(training):
    layers = [
        (f"{name.removeprefix('base_model.model.')}.weight", module)
        for name, module in training.model.named_modules()
        if isinstance(module, LoraLayer)
    ]
    torch.manual_seed(2)
    updates = [(m.lora_B["default"].weight @ m.lora_A["default"].weight).detach().clone() for _, m in layers]
    alignments = [torch.outer(*(torch.randn(size) for size in update.shape)) for update in updates]
    cosines = [project(*pair)[1] for pair in zip(updates, alignments, strict=True)]
    project_adapter(training.model, dict(zip((name for name, _ in layers), alignments, strict=True)))
    count = math.ceil(0.11 * len(layers))
    assert 0 < count < len(layers)
    for place, (_, module) in enumerate(layers):
        after = (module.lora_B["default"].weight @ module.lora_A["default"].weight).detach()
        among_the_lowest = sorted(cosines).index(cosines[place]) < count
        assert torch.equal(after, updates[place]) != among_the_lowest
