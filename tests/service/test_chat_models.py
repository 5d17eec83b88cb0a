"""Which model answers: bounds of memory, checkpoints, what is not one's own, what is damaged."""

from pathlib import Path

import openai
import pytest

from reft.models.loading import add_adapter, load_model, load_tokenizer
from tests.service.chatting import alone, make_adapter, say, serve_adapter, serve_folder, text_of
from tests.service.serving import served, settings_for


def test_more_adapters_than_fit_each_answer_as_themselves(tiny_model, tmp_path):
    with served(settings_for(tmp_path, tiny_model, adapters_in_memory=2), checks=False) as server:
        client = server.client()
        names = [serve_adapter(server, tiny_model, f"m{i}", seed=i + 1) for i in range(4)]
        folders = [Path(server.service.blobs.path(f"acme/models/m{i}")) for i in range(4)]
        expected = [alone(tiny_model, folder) for folder in folders]
        assert len(set(expected)) == 4
        base = alone(tiny_model, None)
        for index in (0, 1, 2, 0, 3, 3, 1):
            assert text_of(client, names[index], temperature=0) == expected[index]
            assert text_of(client, temperature=0) == base
            held = server.app.state.engine.residents.held
            assert held[0] == [tiny_model]
            assert len(held[1]) <= 2
        assert held[1] == [folders[3], folders[1]]


def test_one_adapter_at_a_time_is_a_bound_too(tiny_model, tmp_path):
    with served(settings_for(tmp_path, tiny_model, adapters_in_memory=1), checks=False) as server:
        client = server.client()
        names = [serve_adapter(server, tiny_model, f"m{i}", seed=i + 1) for i in range(2)]
        first = [text_of(client, name, temperature=0) for name in names]
        assert [text_of(client, name, temperature=0) for name in names] == first
        assert first[0] != first[1]


def test_models_with_weights_of_their_own_are_bounded_too(tiny_model, tmp_path):
    with served(settings_for(tmp_path, tiny_model, models_in_memory=1), checks=False) as server:
        client = server.client()
        folder = Path(server.service.blobs.path("acme/models/w"))
        merged = add_adapter(
            load_model(tiny_model), make_adapter(tmp_path / "a", tiny_model, 3), "x"
        ).merge_and_unload()
        merged.save_pretrained(folder)
        load_tokenizer(tiny_model, "chatml").save_pretrained(folder)
        whole, adapter = serve_folder(server, "w", "acme/models/w"), serve_adapter(server, tiny_model, "m")
        for _ in range(2):
            assert text_of(client, whole, temperature=0) == alone(str(folder), None)
            assert server.app.state.engine.residents.held == ([str(folder)], [])
            text_of(client, adapter)
            assert server.app.state.engine.residents.held[0] == [tiny_model]


def test_a_checkpoint_answers(server, client, tiny_model):
    serve_adapter(server, tiny_model, "done:ckpt-step-5", kind="checkpoint")
    assert text_of(client, "ft:tiny:acme::done:ckpt-step-5")


def test_what_is_not_ones_own_or_not_passed_or_not_there_is_not_found(server, client, tiny_model):
    theirs = serve_adapter(server, tiny_model, "theirs", organization="victim")
    unfit = serve_adapter(server, tiny_model, "unfit", passed=False)
    for name in (theirs, unfit, "ft:tiny:acme::nothing", "gpt-4o", "\ud800x".encode("utf-8", "replace").decode()):
        with pytest.raises(openai.NotFoundError) as refused:
            say(client, name)
        assert refused.value.code == "model_not_found"
        assert refused.value.param == "model"
    assert text_of(server.client("victim"), theirs)


def test_a_damaged_adapter_is_told_as_such_and_harms_no_other(server, client, tiny_model):
    good, bad = serve_adapter(server, tiny_model, "good"), serve_adapter(server, tiny_model, "bad")
    before = text_of(client, good)
    weights = Path(server.service.blobs.path("acme/models/bad")) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(openai.InternalServerError) as refused:
        say(client, bad)
    assert refused.value.code == "model_unavailable"
    assert str(weights.parent) not in refused.value.message
    assert text_of(client, good) == before
