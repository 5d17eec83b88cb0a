"""The states at the ends of the last epochs, which are kept beside the result."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from reft.config import LoraSettings
from reft.finetuning.artifact import Student, epoch_place, epochs_in
from reft.finetuning.saving import complete_output
from reft.finetuning.student import fit_student
from reft.models.adapters import wrap_lora
from reft.models.loading import load_model
from reft.storage.folders import OLD
from tests.factories import change


@pytest.mark.parametrize(
    ("epochs", "kept", "steps"), [(2, 1, ()), (3, 2, (6,)), (4, 3, (6, 9)), (2, 5, (3,)), (1, 3, ())]
)
def test_they_are_those_of_the_last_epochs_and_the_result_counts(job, epochs, kept, steps):
    job = change(job, epochs=epochs, kept_epochs=kept)
    assert job.kept_steps(job.plan()) == steps


def test_an_epoch_ends_with_its_last_user_row_also_among_steps_of_alignment_rows_alone(job):
    job = change(job, epochs=2, kept_epochs=2, least_alignment_rows=200)
    plan = job.plan()
    (end,) = job.kept_steps(plan)
    assert len(plan) > 2 * end - 2 > 6  # most steps have alignment rows alone
    before = [row for step in plan[:end] for row in step.user]
    assert sorted(before) == list(range(12))
    assert plan[end - 1].user


def test_a_method_that_passes_twice_over_the_rows_in_an_epoch_has_as_many_epochs(job):
    job = change(job, method="lisa", epochs=2, kept_epochs=3)
    plan = job.plan()
    assert job.kept_steps(plan) == (len(plan) // 2,)


def test_without_user_rows_an_epoch_is_a_pass_over_the_alignment_rows(job):
    alone = change(replace(job, user=(), row_numbers=()), epochs=3, kept_epochs=3)
    plan = alone.plan()
    assert alone.kept_steps(plan) == (len(plan) // 3, 2 * len(plan) // 3)


def test_killed_while_an_adapter_becomes_whole_weights_it_is_one_or_the_other(job, tokenizer, tmp_path, monkeypatch):
    state = epoch_place(tmp_path, 3)
    student = wrap_lora(load_model(job.model.name), LoraSettings(rank=2))
    for name, weight in student.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    student.save_pretrained(state)
    adapter, expected = _weights(state), student.merge_and_unload().state_dict()

    def killed(_, folder):
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "save_pretrained", killed)
        with pytest.raises(KeyboardInterrupt):
            complete_output(state, job.model, tokenizer, merged=True)
    assert list(epochs_in(tmp_path)) == [3]
    assert not (state / "model.safetensors").exists()
    assert all(torch.equal(_weights(state)[name], weight) for name, weight in adapter.items())
    state.rename(state.with_name(f"{OLD}{state.name}-0"))  # killed when it had just made room for the other
    for _ in range(2):  # and when all was done but to say so
        complete_output(state, job.model, tokenizer, merged=True)
        assert [path.name for path in state.parent.iterdir()] == [state.name]
        assert not list(state.glob("adapter*"))
        merged = load_model(str(state)).state_dict()
        assert all(torch.allclose(merged[name], weight, atol=1e-6) for name, weight in expected.items())


@pytest.mark.slow
@pytest.mark.night
def test_a_kept_state_is_the_result_of_a_training_that_ends_there(job, tmp_path):
    same = {"schedule": "constant", "warmup_share": 0.0, "kept_epochs": 3, "work_folder": str(tmp_path / "work")}
    whole, _ = fit_student("whole", change(job, epochs=3, **same))
    short, _ = fit_student("short", change(job, epochs=2, **{**same, "kept_epochs": 1}))
    whole.save(tmp_path / "whole")
    short.save(tmp_path / "short")
    again, other = Student.load(tmp_path / "whole"), Student.load(tmp_path / "short")
    assert other.epochs == {}
    states = again.epochs
    assert list(states) == [3, 6]
    expected, found = _weights(other.weights), _weights(states[6])
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert any(not torch.equal(found[name], weight) for name, weight in _weights(again.weights).items())
    assert {path.name for path in states[6].iterdir()} == {path.name for path in again.weights.iterdir()}


def _weights(folder):
    return load_file(folder / "adapter_model.safetensors")
