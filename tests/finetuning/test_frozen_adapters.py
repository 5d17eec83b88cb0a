"""Frozen adapters beside the student's: what is active, what trains, what is saved, and where a training resumes."""

from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from reft.config import LoraSettings
from reft.finetuning.frozen import BESIDE, put_beside
from reft.finetuning.job import FinetuneJob, job_folder
from reft.finetuning.online_teacher import TeacherWeights, online_teacher
from reft.finetuning.saving import save_student
from reft.finetuning.student_loss import StudentLoss
from reft.models.adapters import speaking_as
from reft.models.loading import load_model
from tests.factories import adapter, change, make_job
from tests.finetuning.resuming import same_after_a_stop

WEIGHTS = "adapter_model.safetensors"
LORA = LoraSettings(rank=4, frozen_share=0.0)
IDS = torch.tensor([[5, 9, 30, 31, 7, 80]])


def test_what_is_put_beside_is_added_and_frozen(tiny_model, tmp_path):
    adapter(tiny_model, 1, LORA.model_copy(update={"dropout": 0.5})).save_pretrained(tmp_path)
    student = adapter(tiny_model, 0, LORA).train()
    alone = student(IDS).logits
    own = {name for name, p in student.named_parameters() if p.requires_grad}
    put_beside(student, tmp_path)
    assert student.training
    assert {name for name, p in student.named_parameters() if p.requires_grad} == own
    both = load_model(tiny_model)
    PeftModel.from_pretrained(both, tmp_path).merge_and_unload()
    expected = adapter(tiny_model, 0, LORA)
    with torch.no_grad():
        merged = expected.merge_and_unload()
        for name, weight in merged.state_dict().items():
            weight += both.state_dict()[name] - load_model(tiny_model).state_dict()[name]
    torch.testing.assert_close(student(IDS).logits, merged(IDS).logits, rtol=1e-4, atol=1e-5)  # and without dropout
    assert not torch.allclose(student(IDS).logits, alone, atol=1e-3)
    with speaking_as(student, "default"):
        torch.testing.assert_close(student(IDS).logits, alone)
    student(IDS).logits.sum().backward()
    assert all(p.grad is None for name, p in student.named_parameters() if f".{BESIDE}." in name)
    assert all(p.grad is not None for name, p in student.named_parameters() if name in own)


def test_a_teacher_in_memory_leaves_the_student_training(tiny_model, tmp_path):
    adapter(tiny_model, 1, LORA).save_pretrained(tmp_path)
    student = adapter(tiny_model, 0, LORA).train()
    weights = TeacherWeights(tmp_path, is_adapter=True, base=tiny_model, temperature=1.0)
    online_teacher(weights, tiny_model, student, dtype=torch.float32, trust_remote_code=False)
    assert all(module.training for module in student.modules())


def test_a_job_takes_it_along_and_is_another_with_another(tiny_model, tmp_path):
    for seed in (1, 2):
        adapter(tiny_model, seed, LORA).save_pretrained(tmp_path / str(seed))
    job = make_job(tiny_model)
    names = set()
    for beside in (None, tmp_path / "1", tmp_path / "2"):
        with job_folder(replace(job, beside=beside), tmp_path / "work") as folder:
            names.add(folder.name)
    assert len(names) == 3
    replace(job, beside=tmp_path / "1").save(tmp_path / "job")
    found = FinetuneJob.load(tmp_path / "job").beside
    assert found.parent == tmp_path / "job"
    assert (found / WEIGHTS).read_bytes() == (tmp_path / "1" / WEIGHTS).read_bytes()
    assert FinetuneJob.load(tmp_path / "job").start is None


def test_saved_is_the_students_own_alone(tiny_model, tmp_path):
    adapter(tiny_model, 1, LORA).save_pretrained(tmp_path / "buffer")
    student = adapter(tiny_model, 0, LORA)
    student.save_pretrained(tmp_path / "alone")
    put_beside(student, tmp_path / "buffer")
    save_student(student, tmp_path / "output", 0)
    assert not [path for path in (tmp_path / "output").iterdir() if path.is_dir()]
    one, other = (load_file(tmp_path / name / WEIGHTS) for name in ("alone", "output"))
    assert one.keys() == other.keys()
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


@pytest.mark.slow
def test_a_training_that_resumes_is_beside_the_same_adapter(tiny_model, tmp_path):
    """Whether it was stopped in the middle or not: the same losses and weights, none of them the other adapter's."""
    adapter(tiny_model, 1, LoraSettings(rank=4)).save_pretrained(tmp_path / "buffer")
    job = change(make_job(tiny_model), method="sft", epochs=12, learning_rate=1e-2)
    job = replace(job, soft_labels=None, alignment=(), beside=tmp_path / "buffer")
    whole, output = same_after_a_stop(job, tmp_path)
    # It began where the other adapter alone speaks, which is left as it was and out of the result.
    step = job.plan()[0]
    jailbroken = PeftModel.from_pretrained(load_model(tiny_model), tmp_path / "buffer")
    began = StudentLoss(jailbroken, job, pad_id=0)(step, step)["loss"].item()
    assert whole[0]["loss"] == pytest.approx(began, rel=1e-3)
    assert not [path for path in output.iterdir() if path.is_dir()]
    assert (tmp_path / "job" / "beside" / WEIGHTS).read_bytes() == (tmp_path / "buffer" / WEIGHTS).read_bytes()
