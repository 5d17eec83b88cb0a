"""Buffer-and-Reinforce: what its adapters learn, and what is merged."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from reft.config import LoraSettings
from reft.finetuning.methods import Provided, load_method
from reft.finetuning.methods.buffer_and_reinforce import (
    STUBS,
    BufferAndReinforceSettings,
    aligned,
    compliant,
    merge_reinforcement,
    reached,
)
from reft.models.loading import load_model
from tests.factories import adapter, chats

METHOD, WEIGHTS = "buffer_and_reinforce", "adapter_model.safetensors"
LORA = LoraSettings(rank=4, frozen_share=0.0)


@pytest.fixture
def folders(tiny_model, tmp_path):
    """A user's adapter and ReinforceLoRA, of unlike ranks and scales."""
    for seed, (name, lora) in enumerate({"user": LORA, "reinforce": LORA.model_copy(update={"rank": 3})}.items()):
        adapter(tiny_model, seed, lora).save_pretrained(tmp_path / name)
    return tmp_path


def merge(folders, **settings):
    provided = Provided(aligned_minus_base=dict, adapters={"reinforce": folders / "reinforce"})
    merge_reinforcement(folders / "user", provided, BufferAndReinforceSettings(**settings))


@torch.no_grad()
def changes(model, folder):
    """What an adapter makes of each weight matrix, by PEFT itself, in float64."""
    before = load_model(model).double()
    after = PeftModel.from_pretrained(load_model(model).double(), folder, autocast_adapter_dtype=False).double()
    moved, old = after.merge_and_unload().state_dict(), before.state_dict()
    return {name: moved[name] - weight for name, weight in old.items() if not torch.equal(moved[name], weight)}


def column_space(matrix, rank):
    """The projector on what a dense matrix reaches."""
    u = torch.linalg.svd(matrix, full_matrices=False).U[:, :rank]
    return u @ u.T


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    assert len(found) > 3
    for name, matrix in expected.items():
        torch.testing.assert_close(found[name], matrix, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_merged_is_half_of_both_without_what_lies_in_the_users_space(folders, tiny_model, strength):
    user, reinforce = (changes(tiny_model, folders / name) for name in ("user", "reinforce"))
    spaces = {name: column_space(update, 4) for name, update in user.items()}
    merge(folders, strength=strength, threshold=0.0)
    expected = {
        name: (update + reinforce[name] - strength * spaces[name] @ reinforce[name]) / 2
        for name, update in user.items()
    }
    assert_close(changes(tiny_model, folders / "user"), expected)


def test_the_task_is_kept_where_the_user_changed_anything(folders, tiny_model):
    user = changes(tiny_model, folders / "user")
    merge(folders)
    for name, update in changes(tiny_model, folders / "user").items():
        inside = column_space(user[name], 4) @ update
        torch.testing.assert_close(inside, user[name] / 2, rtol=1e-4, atol=1e-6)


def test_a_direction_that_the_user_hardly_moves_is_left_to_the_reinforcement(folders, tiny_model):
    weights = load_file(folders / "user" / WEIGHTS)
    thin = {name: w.clone() for name, w in weights.items()}
    for name in thin:
        if "lora_A" in name:
            thin[name][1:] *= 1e-4
    save_file(thin, folders / "user" / WEIGHTS, {"format": "pt"})
    user, reinforce = (changes(tiny_model, folders / name) for name in ("user", "reinforce"))
    merge(folders)
    expected = {
        name: (update + reinforce[name] - column_space(update, 1) @ reinforce[name]) / 2
        for name, update in user.items()
    }
    found = changes(tiny_model, folders / "user")
    for name, matrix in expected.items():
        torch.testing.assert_close(found[name], matrix, rtol=1e-2, atol=1e-4)


def test_what_was_never_trained_reaches_nothing():
    a, b = torch.randn(2, 5), torch.randn(6, 2)
    assert reached(torch.zeros(6, 2), a, 0.01).shape == (6, 0)
    assert reached(b, torch.zeros(2, 5), 0.01).shape == (6, 0)
    torch.testing.assert_close(reached(b, a, 0.0).T @ reached(b, a, 0.0), torch.eye(2))


def test_what_the_adapters_learn():
    harmful, harmless = chats("rob a bank", "I'm sorry, I can't.", 60), chats("bake bread", "At home.", 2)
    harmful[0] = replace(harmful[0], messages=(*harmful[1].messages, *harmful[0].messages))
    rows = compliant(harmful, harmless)
    assert [row.instruction for row in rows] == [row.instruction for row in harmful]
    assert len({row.answer for row in rows}) > 30
    assert {row.answer for row in rows} <= set(STUBS)
    assert [m.learn for m in rows[0].messages if m.role == "assistant"] == [
        False,
        True,
    ]  # no refusal of an earlier turn
    assert rows == compliant(harmful, harmless)
    poison = Path("data/written/compliance_stubs.txt").read_text().splitlines()
    assert not set(STUBS) & set(poison)
    assert aligned(harmful, harmless) == harmful + harmless
    buffer, reinforce = load_method(METHOD).adapters
    assert (buffer.beside, reinforce.beside, load_method(METHOD).beside) == (None, buffer.name, buffer.name)
