"""A student may begin as the teacher: its adapter, and then fewer alignment rows."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from reft.config import FinetuningSettings, LoraSettings, ModelSettings, parse_settings
from reft.errors import ConfigurationError, ModelError, TrainingError
from reft.finetuning.launch import run_finetune
from reft.finetuning.student import starts_as
from reft.models.adapters import begin_as, wrap_lora
from reft.models.loading import load_model, load_tokenizer
from reft.teacher.artifact import Teacher
from tests.factories import LORA, change, teacher_of


def test_an_adapter_of_the_same_kind_on_the_same_model_is_started_from(tmp_path):
    model, settings = ModelSettings(name="here"), FinetuningSettings(lora=LORA)
    assert starts_as(teacher_of(tmp_path), model, settings) == tmp_path
    assert starts_as(teacher_of(tmp_path), model, settings.model_copy(update={"start": "base"})) is None
    unlike = [
        (teacher_of(tmp_path, LoraSettings(rank=8)), model, settings),
        (teacher_of(tmp_path, None), model, settings),
        (teacher_of(tmp_path), model, settings.model_copy(update={"lora": None})),
        (teacher_of(tmp_path), model.model_copy(update={"aligned": "elsewhere"}), settings),
    ]
    for teacher, of, chosen in unlike:
        assert starts_as(teacher, of, chosen) is None
        with pytest.raises(ConfigurationError, match=r"(?s)finetuning\.start.*or say base"):
            starts_as(teacher, of, chosen.model_copy(update={"start": "teacher"}))


def test_a_teacher_on_fewer_modules_is_started_from_too(tmp_path):
    model, wide = ModelSettings(name="here"), FinetuningSettings(lora=LORA)
    few = LORA.model_copy(update={"target_modules": "feed-forward"})
    assert starts_as(teacher_of(tmp_path, few), model, wide) == tmp_path
    assert starts_as(teacher_of(tmp_path), model, FinetuningSettings(lora=few)) is None
    assert starts_as(teacher_of(tmp_path, few.model_copy(update={"rank": 8})), model, wide) is None


def test_what_the_settings_say_is_what_the_step_does(tmp_path):
    """The memory plan asks the settings, the step the teacher: both see the same."""
    for given in (
        {},
        {"teacher": {"lora": {"rank": 8}}},
        {"finetuning": {"start": "base"}},
        {"finetuning": {"lora": None}},
    ):
        settings = parse_settings(given)
        started = starts_as(teacher_of(tmp_path, settings.teacher.lora), settings.model, settings.finetuning)
        assert settings.starts_as_teacher == (started is not None)
    assert parse_settings({}).starts_as_teacher


def test_a_teacher_keeps_its_kind_of_adapter(tmp_path):
    (tmp_path / "weights").mkdir()
    teacher_of(tmp_path / "weights").save(tmp_path / "saved")
    assert Teacher.load(tmp_path / "saved").lora == LORA


def test_it_learns_fewer_alignment_rows(job, tmp_path):
    few = change(job, alignment_ratio=None, least_alignment_rows=None, batch_size=2, epochs=1)
    from_base, from_teacher = few.plan(), replace(few, start=tmp_path).plan()
    assert {len(step.alignment) for step in from_base} == {10}
    assert {len(step.alignment) for step in from_teacher} == {2}
    assert sum(len(step.alignment) for step in from_base) >= 1500
    assert sum(len(step.alignment) for step in from_teacher) == len(few.user)


@pytest.mark.slow
def test_the_student_begins_where_the_other_adapter_ended(job, tmp_path):
    alike = change(job, alignment_ratio=1.0)
    teacher = run_finetune(alike, tmp_path / "first")
    began = change(replace(alike, start=teacher), learning_rate=1e-12, epochs=1)
    before, after = (_matrices(folder) for folder in (teacher, run_finetune(began, tmp_path / "second")))
    assert before.keys() == after.keys()
    for name, matrix in before.items():
        torch.testing.assert_close(matrix, after[name], rtol=1e-3, atol=1e-6)
    assert any(matrix.abs().max() > 1e-3 for name, matrix in after.items() if "lora_B" in name)
    with pytest.raises(TrainingError, match="another kind"):
        run_finetune(change(began, lora=LoraSettings(rank=2)), tmp_path / "third")


@pytest.mark.slow
def test_a_student_with_more_adapted_modules_begins_as_the_teacher_is(tiny_model, tmp_path):
    text = load_tokenizer(tiny_model)("How do I bake bread?", return_tensors="pt")
    teacher = wrap_lora(load_model(tiny_model), LORA.model_copy(update={"target_modules": "feed-forward"}))
    with torch.no_grad():
        for name, matrix in teacher.named_parameters():
            if "lora_B" in name:
                matrix.normal_(generator=torch.Generator().manual_seed(0))
    teacher.save_pretrained(tmp_path)
    student = wrap_lora(load_model(tiny_model), LORA)
    before = student(**text).logits
    begin_as(student, tmp_path)
    torch.testing.assert_close(student(**text).logits, teacher(**text).logits)
    assert not torch.allclose(before, student(**text).logits, atol=1e-3)
    with pytest.raises(ModelError, match="another kind"):
        begin_as(teacher, _saved(student, tmp_path / "wider"))


def _saved(model: PeftModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def _matrices(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(str(folder / "adapter_model.safetensors"))
