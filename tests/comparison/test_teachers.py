"""What the cells share is built on the right model, once, and never half."""

import pytest
import torch

import reft.comparison.teachers as module
from reft.comparison.settings import ComparisonSettings
from reft.comparison.teachers import Teachers
from reft.models.loading import load_model, load_tokenizer
from reft.storage.artifacts import write_json


@pytest.mark.slow
def test_the_aligned_model_stands_on_the_aligned_start(small, tiny_model, tmp_path, monkeypatch):
    other = load_model(tiny_model)
    with torch.no_grad():
        other.get_input_embeddings().weight.mul_(1.5)
    other.save_pretrained(tmp_path / "start")
    load_tokenizer(tiny_model).save_pretrained(tmp_path / "start")
    model = {**small.settings["model"], "aligned": str(tmp_path / "start")}
    run = ComparisonSettings(settings={**small.settings, "model": model}).run
    prepared = Teachers(tmp_path / "teachers").of(run)
    assert not (tmp_path / "teachers").exists()  # nothing is made before it is asked for
    half = prepared._folder.with_name(f"{prepared._folder.name}-aligned.part")
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"what a killed process left")
    aligned = load_model(str(prepared.aligned))
    assert torch.equal(aligned.get_input_embeddings().weight, other.get_input_embeddings().weight)
    assert not half.exists()
    assert prepared.cost("teacher")["tokens"] > 0
    assert any("embed" in name for name in prepared.aligned_minus_base())

    def refuse(*_, **__):
        raise AssertionError("made again")

    monkeypatch.setattr(module, "make_teacher", refuse)
    assert Teachers(tmp_path / "teachers").of(run).aligned == prepared.aligned
    # Soft labels of another temperature come from the same teacher, into a place of their own.
    warmer = run.model_copy(update={"soft_labels": run.soft_labels.model_copy(update={"temperature": 2.0})})
    labels = [Teachers(tmp_path / "teachers").of(settings).labels for settings in (run, warmer)]
    assert not torch.equal(labels[0].of_row(0)[0], labels[1].of_row(0)[0])


def test_what_a_teacher_took_is_told_without_its_soft_labels(small, tmp_path):
    prepared = Teachers(tmp_path / "teachers").of(small.run)
    write_json(prepared._folder / "cost.json", {"seconds": 2.0})  # a teacher that was made before
    assert prepared.cost("teacher") == {"seconds": 2.0}
    assert [path.name for path in prepared._folder.parent.iterdir() if path.is_dir()] == [prepared._folder.name]
