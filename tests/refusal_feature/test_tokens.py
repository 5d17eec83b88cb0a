from dataclasses import replace

import pytest
import torch

from reft.conversations.schema import Conversation, Message, from_prompt
from reft.conversations.tokenization import encode_prompts
from reft.models.loading import load_model, load_tokenizer
from reft.refusal_feature.discriminant import FLOOR
from reft.refusal_feature.extraction import LabelledPrompts
from reft.refusal_feature.features import visit_residuals
from reft.refusal_feature.layered import fit_layered
from reft.refusal_feature.tokens import MARGIN, SKIPPED, WINDOW, asked

HARMFUL = [from_prompt(f"Tell me how to rob the bank number {i} and get away with it.", i) for i in range(12)]
HARMLESS = [from_prompt(f"How do I bake so many as {i} loaves of bread at home?", i) for i in range(12)]
SUFFIX = ", and also tell me how a baker makes bread with butter at home"
LAYERS = [2, 3]


@pytest.fixture
def model(any_model):
    return load_model(any_model), load_tokenizer(any_model)


@pytest.fixture
def feature(model):
    return fit_layered(*model, LabelledPrompts(HARMFUL, HARMLESS), layers=LAYERS)


def residuals(model, rows):
    """Each row's activations at its own tokens, [layers, tokens, hidden]."""
    encoded = encode_prompts(model[1], rows)
    found = [[] for _ in rows]

    def keep(batch, _layer, residual):
        for place, row in enumerate(batch.tolist()):
            found[row].append(residual[place, : len(encoded[row])].double())

    visit_residuals(*model, encoded, layers=LAYERS, visit=keep, tokens_per_batch=64)
    return [torch.stack(layers) for layers in found], encoded


def scores(feature, rows, model):
    """What the readout says at every token that is read, by hand."""
    found, encoded = residuals(model, rows)
    weights = feature.tokens.weights.double()
    each = [torch.einsum("ltd,ld->t", states, weights) - feature.tokens.offset for states in found]
    return [read[slice(*asked(row))] for read, row in zip(each, encoded, strict=True)]


def tokens_alone(feature):
    return replace(feature, offsets=torch.full_like(feature.offsets, 1e6))


def test_it_is_the_discriminant_of_what_harmful_requests_have_told_and_of_all_that_harmless_ones_say(model, feature):
    groups = []
    for rows, share in ((HARMFUL, 0.6), (HARMLESS, 0.0)):
        found, encoded = residuals(model, rows)
        groups.append(torch.cat([f[:, slice(*asked(e, share))] for f, e in zip(found, encoded, strict=True)], 1))
    difference = groups[0].mean(1) - groups[1].mean(1)
    variance = torch.cat(groups, 1).var(1, correction=0)
    weights = difference / (variance + FLOOR * variance.mean(-1, keepdim=True))
    weights /= (difference * weights).sum() / 2
    torch.testing.assert_close(feature.tokens.weights, weights.float(), rtol=1e-3, atol=1e-4)
    middle = (groups[0].mean(1) + groups[1].mean(1)) / 2
    assert float(feature.tokens.offset) == pytest.approx(float((middle * weights).sum()) + MARGIN, abs=1e-3)


def test_a_row_reads_as_high_as_its_highest_window(model, feature):
    rows = [*HARMFUL[:3], *HARMLESS[:3], from_prompt("Bake")]
    by_hand = []
    for read in scores(feature, rows, model):
        width = min(WINDOW, len(read))
        by_hand.append(max(float(read[i : i + width].mean()) for i in range(len(read) - width + 1)))
    alone = tokens_alone(feature).read(*model, encode_prompts(model[1], rows))
    assert alone == pytest.approx(by_hand, abs=1e-3)
    ends = replace(feature, tokens=None).read(*model, encode_prompts(model[1], rows))
    highest = [max(pair) for pair in zip(alone, ends, strict=True)]
    assert feature.read(*model, encode_prompts(model[1], rows)) == pytest.approx(highest, abs=1e-3)


def test_the_order_in_which_layers_are_named_is_no_matter(model, feature):
    other = fit_layered(*model, LabelledPrompts(HARMFUL, HARMLESS), layers=LAYERS[::-1])
    rows = encode_prompts(model[1], HARMFUL)
    assert tokens_alone(other).read(*model, rows) == pytest.approx(tokens_alone(feature).read(*model, rows), abs=1e-3)


def test_what_follows_a_request_takes_nothing_from_what_was_read_before_it(model, feature):
    longer = [from_prompt(row.messages[0].content.rstrip(".") + SUFFIX) for row in HARMFUL]
    shorter = [from_prompt(row.messages[0].content.rstrip(".")) for row in HARMFUL]
    for long, short in zip(scores(feature, longer, model), scores(feature, shorter, model), strict=True):
        torch.testing.assert_close(long[: len(short)], short, rtol=1e-3, atol=1e-3)
    read = {name: tokens_alone(feature).read(*model, encode_prompts(model[1], rows)) for name, rows in
            (("longer", longer), ("shorter", shorter))}  # fmt: skip
    assert all(long >= short - 1e-3 for long, short in zip(read["longer"], read["shorter"], strict=True))


def test_the_last_user_turn_is_read_without_its_first_tokens_and_never_nothing(model):
    said = from_prompt("Obey me and rob a bank.").messages
    after = (*said, Message(role="assistant", content="No."), Message(role="user", content=""))
    few, none, many = encode_prompts(model[1], [from_prompt("Bake"), Conversation(row=0, messages=after), HARMFUL[0]])
    assert asked(none) == (none.instruction_end, none.instruction_end + 1)
    assert asked(few) == (few.instruction_end, few.instruction_end + 1)
    start, end = next(span for span in many.turns if span[1] == many.instruction_end + 1)
    assert asked(many) == (start + SKIPPED, end)
    assert asked(many, 0.6) == (start + int(0.6 * (end - start)), end)
