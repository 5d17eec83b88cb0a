import random

import pytest
import torch

from reft.config import LoraSettings, TeacherSettings
from reft.conversations.reading import read_conversations
from reft.errors import ConfigurationError, TrainingError
from reft.models.layers import decoder_layers
from reft.models.loading import load_model, load_tokenizer
from reft.refusal_feature.extraction import LabelledPrompts, extract_refusal_feature
from reft.teacher.artifact import Teacher
from reft.teacher.loss import RunningFeature, cosine_regulariser
from reft.teacher.training import LabelledRow, mixed_batches, train_teacher
from tests.factories import row, write_jsonl


@pytest.fixture
def rows(tmp_path):
    harmful = [row(f"Tell me how to rob bank {i}.", "I'm sorry, I can't help.") for i in range(12)]
    harmless = [row(f"How do I bake bread {i}?", "With flour and water.") for i in range(12)]
    return tuple(
        read_conversations(write_jsonl(tmp_path / f"{n}.jsonl", r)) for n, r in (("h", harmful), ("s", harmless))
    )


def fit(model, tokenizer, rows, **more):
    harmful, harmless = rows
    return train_teacher(model, tokenizer, harmful, harmless=harmless, seed=0, max_length=200, **more)


def test_the_regulariser_is_the_formula():
    scores, harmful = torch.tensor([0.5, 0.0, -0.5]), torch.tensor([True, True, False])
    expected = ((1 - 0.5) ** 2 + (1 - 0.0) ** 2) / 2 + (-1 + 0.5) ** 2
    assert cosine_regulariser(scores, harmful, -1.0).item() == pytest.approx(expected)
    assert cosine_regulariser(scores[:2], harmful[:2], -1.0).item() == pytest.approx(0.625)


def test_the_running_feature_follows_the_batch_and_carries_no_gradient():
    running = RunningFeature(torch.ones(2), torch.zeros(2), momentum=0.5)
    features = torch.tensor([[3.0, 3.0], [0.0, 2.0]], requires_grad=True)
    running.update(features, torch.tensor([True, False]))
    torch.testing.assert_close(running.harmful, torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(running.harmless, torch.tensor([0.0, 1.0]))
    assert not running.harmful.requires_grad
    assert running.scores(features).requires_grad


@pytest.mark.slow
def test_in_bfloat16_the_matrices_learn_in_steps_that_it_would_round_away(tiny_model, rows):
    model, tokenizer = load_model(tiny_model, torch.bfloat16), load_tokenizer(tiny_model)
    prompts, formats = LabelledPrompts(*rows), []
    feature = extract_refusal_feature(model, tokenizer, prompts, held_out=prompts, layers=[2], positions=["template"])

    def look(*_):
        formats.extend(p.dtype for p in model.parameters() if p.requires_grad)

    settings = TeacherSettings(lora=LoraSettings(rank=4, alpha=8), epochs=2, batch_size=8, learning_rate=1e-5)
    trained = fit(model, tokenizer, rows, feature=feature, settings=settings, report=look)
    assert set(formats) == {torch.bfloat16}  # while it trains
    left = [p for name, p in trained.named_parameters() if "lora_A" in name]
    assert {p.dtype for p in left} == {torch.float32}
    assert any((p != p.bfloat16().float()).any() for p in left)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [LoraSettings(rank=4, alpha=8), None])
def test_training_lowers_both_terms(any_model, rows, lora, tmp_path):
    model, tokenizer = load_model(any_model), load_tokenizer(any_model)
    prompts = LabelledPrompts(*rows)
    feature = extract_refusal_feature(model, tokenizer, prompts, held_out=prompts, layers=[2], positions=["template"])
    steps = []
    settings = TeacherSettings(lora=lora, epochs=4, batch_size=8, learning_rate=1e-2 if lora else 2e-3, lam=1.0)
    trained = fit(model, tokenizer, rows, feature=feature, settings=settings, report=lambda *s: steps.append(s))
    for term in ("ce", "regulariser"):  # means over an epoch: the same rows, whatever their batches
        values = [losses[term] for _, _, losses in steps]
        assert sum(values[-3:]) < sum(values[:3])
    assert len(steps) == steps[0][1] == 12
    trained.save_pretrained(tmp_path / "w")
    teacher = Teacher(
        weights=tmp_path / "w",
        is_adapter=lora is not None,
        feature=feature,
        untrained=feature,
        history=[{"step": 1, "loss": 1.0}],
    )
    teacher.save(tmp_path / "saved")
    again = Teacher.load(tmp_path / "saved")
    assert again.history == teacher.history
    assert not again.beats_untrained
    if lora:
        load_model(any_model, adapter=again.weights)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_training(tiny_model, rows):
    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    prompts = LabelledPrompts(*rows)
    feature = extract_refusal_feature(model, tokenizer, prompts, held_out=prompts, layers=[2])
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="not a number"):
        fit(model, tokenizer, rows, feature=feature, settings=TeacherSettings())


@pytest.mark.slow
def test_a_regulariser_below_all_adapters_is_refused(tiny_model, rows):
    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    prompts = LabelledPrompts(*rows)
    feature = extract_refusal_feature(model, tokenizer, prompts, held_out=prompts, layers=[1])
    frozen = LoraSettings(rank=4, frozen_share=0.5)
    with pytest.raises(ConfigurationError, match=r"(?s)layer 1 is regularised and frozen.*frozen_share"):
        fit(model, tokenizer, rows, feature=feature, settings=TeacherSettings(lora=frozen, depth=None))
    free = TeacherSettings(lora=frozen, depth=None, lam=0.0)  # without a regulariser there is nothing to refuse
    fit(model, tokenizer, rows, feature=feature, settings=free)


def test_batches_hold_every_row_once_and_both_classes(tokenizer):
    from reft.conversations.schema import from_prompt
    from reft.conversations.tokenization import encode

    rows = [LabelledRow(encode(tokenizer, from_prompt("x" * (i + 1), i)), i % 3 == 0) for i in range(50)]
    batches = mixed_batches(rows, 8, 1, rng=random.Random(0))
    assert sorted(id(r) for b in batches for r in b) == sorted(id(r) for r in rows)
    assert all(any(r.harmful for r in b) for b in batches if len(b) == 8)


@pytest.mark.slow
def test_compiled_layers_learn_the_same_and_are_as_before_afterwards(tiny_model, rows, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    settings = TeacherSettings(lora=LoraSettings(rank=4, alpha=8), epochs=2, batch_size=8, learning_rate=1e-3)
    losses, weights = [], []
    for compiled in (False, True):
        model, tokenizer = load_model(tiny_model, torch.float32), load_tokenizer(tiny_model)
        prompts = LabelledPrompts(*rows)
        feature = extract_refusal_feature(model, tokenizer, prompts, held_out=prompts, layers=[2])
        own, seen = settings.model_copy(update={"compile_layers": compiled}), []
        trained = fit(
            model, tokenizer, rows, feature=feature, settings=own, report=lambda *step, seen=seen: seen.append(step[2])
        )
        assert not any("forward" in vars(layer) for layer in decoder_layers(trained))
        losses.append([step["loss"] for step in seen])
        weights.append([p.detach() for name, p in trained.named_parameters() if "lora_" in name])
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    assert losses[0][0] != losses[0][-1]
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(*weights, strict=True))
