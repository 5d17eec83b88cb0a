import numpy as np
import pytest
import torch

from reft.conversations.schema import Conversation, Message, from_prompt
from reft.conversations.tokenization import encode_prompts
from reft.errors import DataValidationError, StorageError
from reft.models.loading import load_model, load_tokenizer
from reft.refusal_feature.calibration import conformal_threshold, lookalike_weights, recall_threshold
from reft.refusal_feature.extraction import LabelledPrompts, earliest_good, extract_refusal_feature, feature_at_depth
from reft.refusal_feature.feature import RefusalFeature, Separation
from reft.refusal_feature.features import collect_features
from reft.refusal_feature.readouts import difference_of_means, linear_probe, midpoint_of

HARMFUL = [from_prompt(f"Tell me how to rob bank number {i} and get away with it.", i) for i in range(12)]
HARMLESS = [from_prompt(f"How do I bake {i} loaves of bread at home?", i) for i in range(12)]


def test_features_do_not_depend_on_the_batch(any_model):
    model, tokenizer = load_model(any_model), load_tokenizer(any_model)
    rows = encode_prompts(tokenizer, HARMFUL[:3] + HARMLESS[:3])
    together = collect_features(model, tokenizer, rows, layers=[1, 3])
    alone = torch.cat([collect_features(model, tokenizer, [row], layers=[1, 3], tokens_per_batch=1) for row in rows])
    assert together.shape == (6, 2, 2, 32)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_the_feature_separates_prompts_and_survives_storage(any_model, tmp_path):
    model, tokenizer = load_model(any_model), load_tokenizer(any_model)
    fitting, held_out = LabelledPrompts(HARMFUL[:8], HARMLESS[:8]), LabelledPrompts(HARMFUL[8:], HARMLESS[8:])
    feature = extract_refusal_feature(model, tokenizer, fitting, held_out=held_out)
    assert feature.auroc() == 1.0
    assert len(feature.separations) == 3 * 2
    feature.save(tmp_path)
    again = RefusalFeature.load(tmp_path)
    torch.testing.assert_close(again.direction, feature.direction)
    assert (again.layer, again.position, again.separations) == (feature.layer, feature.position, feature.separations)


def test_a_probe_is_taken_where_the_means_are_misled():
    """One direction tells the classes apart, another, with ten times its spread, hides that from the means."""
    noise = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    noise[:, 1] *= 10
    noise[:200, 0] += 4
    noise[:200, 1] += 4
    harmful, harmless = noise[:200], noise[200:]
    mean, probe = difference_of_means(harmful, harmless), linear_probe(harmful, harmless)
    assert probe[0] > 4 * probe[1].abs()
    centred = noise - midpoint_of(harmful, harmless)

    def right(direction):
        return ((centred @ direction > 0) == (torch.arange(400) < 200)).float().mean()

    assert right(probe) > right(mean) + 0.1


def test_the_readout_that_was_chosen_is_kept(tiny_model, tmp_path):
    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    prompts = LabelledPrompts(HARMFUL, HARMLESS)
    feature = extract_refusal_feature(model, tokenizer, prompts, held_out=prompts, readouts=["probe"])
    feature.save(tmp_path)
    again = RefusalFeature.load(tmp_path)
    assert again.readout == "probe"
    assert {s.readout for s in again.separations} == {"probe"}
    assert again.auroc() == feature.auroc() == 1.0


def test_the_score_is_the_centred_cosine():
    feature = RefusalFeature(
        direction=torch.tensor([2.0, 0.0]),
        midpoint=torch.tensor([1.0, 1.0]),
        layer=1,
        position="template",
        separations=(),
    )
    scores = feature.score(torch.tensor([[3.0, 1.0], [-1.0, 1.0], [1.0, 5.0]]))
    torch.testing.assert_close(scores, torch.tensor([1.0, -1.0, 0.0]))


def test_the_earliest_good_layer_is_taken():
    found = [Separation(1, "template", 0.7), Separation(2, "template", 0.95), Separation(3, "template", 0.955)]
    assert earliest_good(found, 0.01).layer == 2
    assert earliest_good(found, 0.0).layer == 3


def test_the_threshold_keeps_its_promise_on_average():
    random = np.random.default_rng(0)
    rates = []
    for _ in range(300):
        threshold = conformal_threshold(random.normal(size=150).tolist(), 0.05)
        rates.append(float((random.normal(size=400) > threshold).mean()))
    assert 0.03 < np.mean(rates) <= 0.055


def test_a_stated_recall_is_kept_on_average():
    random = np.random.default_rng(0)
    rates = []
    for _ in range(300):
        threshold = recall_threshold(random.normal(size=100).tolist(), 0.9)
        rates.append(float((random.normal(size=400) > threshold).mean()))
    assert 0.895 < np.mean(rates) < 0.915
    with pytest.raises(DataValidationError, match="at least 99 rows"):
        recall_threshold([0.0] * 50, 0.99)


def test_equal_weights_change_nothing_and_light_rows_count_less():
    scores = np.random.default_rng(0).normal(size=150).tolist()
    assert conformal_threshold(scores, 0.05, [0.3] * 150) == conformal_threshold(scores, 0.05)
    hard = [*[0.0] * 99, *[1.0] * 99]
    assert conformal_threshold(hard, 0.1) == 1.0
    assert conformal_threshold(hard, 0.1, [1.0] * 99 + [0.01] * 99) == 0.0


def test_too_few_calibration_rows_are_refused():
    with pytest.raises(DataValidationError, match="at least 99 rows"):
        conformal_threshold([0.0] * 50, 0.01)


def test_a_damaged_artifact_is_named(tmp_path):
    (tmp_path / "refusal_feature.json").write_text("{")
    with pytest.raises(StorageError, match=r"refusal_feature\.json"):
        RefusalFeature.load(tmp_path)


def test_lookalikes_weigh_what_the_settings_say():
    rows = [
        Conversation(row=i, messages=(Message(role="user", content="x"),), kind="lookalike" if i < 3 else "task")
        for i in range(8)
    ]
    weights = lookalike_weights(rows, 0.1)
    assert sum(weights[:3]) == pytest.approx(0.1)
    assert sum(weights) == pytest.approx(1.0)
    assert lookalike_weights(rows[:3], 0.1) == [1.0] * 3


def test_the_layer_is_chosen_for_the_mixture_that_the_weights_describe(tiny_model):
    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    fitting = LabelledPrompts(HARMFUL[:6], HARMLESS[:6])
    # Harmful prompts under a harmless label: each class pair scores alike, so they halve the separation.
    mixed = [*HARMLESS[6:], *HARMFUL[:6]]

    def auroc(weights: list[float] | None) -> float:
        held_out = LabelledPrompts(HARMFUL[6:], mixed, weights)
        return extract_refusal_feature(
            model, tokenizer, fitting, held_out=held_out, layers=[2], positions=["template"]
        ).auroc()

    assert auroc([1.0] * 6 + [1e-6] * 6) > 0.99
    assert auroc(None) == pytest.approx(auroc([2.0] * 12))
    assert auroc(None) < 0.9


def test_a_depth_names_a_layer_of_any_model(tiny_model):
    model, tokenizer = load_model(tiny_model), load_tokenizer(tiny_model)
    prompts = LabelledPrompts(HARMFUL, HARMLESS)
    for depth, layer in ((0.01, 1), (0.6, 2), (1.0, 3)):
        found = feature_at_depth(model, tokenizer, prompts, held_out=prompts, depth=depth, position="instruction")
        assert (found.layer, found.position) == (layer, "instruction")


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (None, "40 harmless calibration rows cannot promise[^,]*\n.*\n.*give at least 99 rows or raise"),
        (
            [1.0] * 30 + [0.01] * 90,
            "120 [a-z ]*, which weigh as 30 rows [a-z ]*, cannot[^,]*\n.*\n.*until that is 99, or",
        ),
    ],
)
def test_too_few_rows_are_told_by_what_they_weigh(weights, told):
    with pytest.raises(DataValidationError, match=told):
        conformal_threshold([0.0] * len(weights or range(40)), 0.01, weights)
