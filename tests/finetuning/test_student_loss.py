"""The loss itself, in one process: against a naive reference, its gradients, however rows are put together."""

from dataclasses import replace

import pytest
import torch

from reft.config import LoraSettings
from reft.conversations.tokenization import encode_all
from reft.finetuning.methods import load_method
from reft.finetuning.online_teacher import TeacherWeights, online_teacher
from reft.finetuning.schedule import MicroBatch, share_of
from reft.finetuning.student_loss import StudentLoss
from reft.models.adapters import wrap_lora
from reft.models.layers import decoder_of, output_head
from reft.models.loading import load_model, load_tokenizer
from reft.soft_labels.labels import compute_soft_labels
from tests.factories import build_model, change, chats, make_job

STEP = MicroBatch((0, 5, 9, 11), (1, 3, 4))
VOCABULARY = 100_000  # more than there are tokens


def perturbed(model, seed):
    """So that student and teacher differ, and an adapter's second matrix is not nothing."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def labelled(job, teacher, top_k):
    pad = load_tokenizer(job.model.name).pad_token_id
    return replace(
        job, soft_labels=compute_soft_labels(teacher, job.alignment, range(6), pad_id=pad, top_k=top_k, temperature=1.5)
    )


def naive(job, student, teacher):
    """(CE, KL) means in float64, row by row, over the whole vocabulary."""
    ce, kl = [], []
    for row in (job.user[i] for i in STEP.user):
        logits = student(torch.tensor([row.input_ids])).logits[0].double()
        ce += [-torch.log_softmax(logits[p - 1], -1)[row.input_ids[p]] for p in range(*row.completion)]
    for row in (job.alignment[i] for i in STEP.alignment):
        said, taught = (m(torch.tensor([row.input_ids])).logits[0].double() / 1.5 for m in (student, teacher))
        for p in range(*row.completion):
            log_p, log_q = torch.log_softmax(taught[p - 1], -1), torch.log_softmax(said[p - 1], -1)
            kl.append((log_p.exp() * (log_p - log_q)).sum())
    return torch.stack(ce).mean().item(), torch.stack(kl).mean().item()


def test_ce_and_kl_are_those_of_a_naive_reference(any_model):
    job, teacher = make_job(any_model), perturbed(load_model(any_model), 1)
    exact = labelled(job, teacher, VOCABULARY)
    student = load_model(any_model)
    with torch.no_grad():
        losses = StudentLoss(student, exact, pad_id=0)(STEP, STEP)
        ce, kl = naive(job, student, teacher)
        cut = StudentLoss(student, labelled(job, teacher, 8), pad_id=0)(STEP, STEP)
    assert losses["ce"].item() == pytest.approx(ce, rel=1e-4)
    assert losses["kl"].item() == pytest.approx(kl, rel=1e-3)
    assert losses["loss"].item() == pytest.approx(ce + job.settings.alpha * 1.5**2 * kl, rel=1e-3)
    assert 0 < cut["kl"].item() <= losses["kl"].item() + 1e-6


def test_packed_rows_do_not_see_one_another(any_model):
    """Under both kinds of attention: the same losses and gradients as padded rows."""
    job = labelled(make_job(any_model), perturbed(load_model(any_model), 1), 8)
    for attention in ("sdpa", "eager"):
        found = []
        for packing in (False, True):
            student = load_model(any_model)
            student.set_attn_implementation(attention)
            StudentLoss(student, change(job, packing=packing), pad_id=0)(STEP, STEP)["loss"].backward()
            found.append({name: p.grad for name, p in student.named_parameters() if p.grad is not None})
        assert found[0].keys() == found[1].keys()
        for name, gradient in found[0].items():
            torch.testing.assert_close(gradient, found[1][name], rtol=1e-3, atol=1e-5)


def test_gradients_by_finite_differences(tmp_path):
    model = str(build_model(tmp_path, "gpt2"))  # the others' norms compute in float32, whatever the weights are
    job = labelled(make_job(model), perturbed(load_model(model), 1), 8)
    student = load_model(model, torch.float64)
    loss = StudentLoss(student, job, pad_id=0)
    loss(STEP, STEP)["loss"].backward()
    generator = torch.Generator().manual_seed(0)
    checked = 0
    for parameter in student.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for index in torch.randint(len(flat), (2,), generator=generator):
            before, sides = flat[index].item(), []
            for shift in (1e-5, -1e-5):
                flat[index] = before + shift
                with torch.no_grad():
                    sides.append(loss(STEP, STEP)["loss"].item())
            flat[index] = before
            assert gradient[index].item() == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-3, abs=1e-6)
            checked += 1
    assert checked > 20


@pytest.mark.parametrize(("processes", "accumulation"), [(1, 4), (2, 2), (3, 3)])
def test_pieces_of_a_step_make_the_whole_gradient(job, processes, accumulation):
    """However a step is split, also into pieces without any row."""
    found = []
    for pieces in (
        [STEP],
        [p for rank in range(processes) for p in share_of(STEP, rank, processes, accumulation=accumulation)],
    ):
        student = load_model(job.model.name)
        loss = StudentLoss(student, job, pad_id=0)
        for piece in pieces:
            loss(piece, STEP)["loss"].backward()
        found.append({name: p.grad for name, p in student.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-4, atol=1e-6)


EVERY_PIECE = ["reft", "online", "sft", "joint_sft", "constrained_sft", "safety_bottleneck", "interleaved_sft"]


@pytest.mark.parametrize("method", [*EVERY_PIECE, "bayesian_data_scheduler"])
def test_every_piece_of_a_step_calls_the_same_modules(tiny_model, tmp_path, monkeypatch, method):
    """ZeRO 3 gathers weights on all ranks at once: a rank without rows, or with fewer chunks, calls the head as often.

    The pieces still make the whole.
    """
    monkeypatch.setattr("reft.models.head.TOKENS_PER_CHUNK", 3)
    job = change(make_job(tiny_model), processes=2, micro_batch_size=1, method=method.replace("online", "reft"))
    long = encode_all(load_tokenizer(tiny_model), chats("where is my card", "card delivery, card delivery", 1))
    job = replace(job, user=(*long, *job.user[1:]), harmful=3, start=tmp_path)
    student, teacher = wrap_lora(load_model(tiny_model), LoraSettings(rank=4)), None
    student.save_pretrained(tmp_path)
    perturbed(student, 1)
    if method == "online":
        source = TeacherWeights(tmp_path, True, tiny_model, 1.5)
        teacher = online_teacher(source, tiny_model, student, dtype=torch.float32, trust_remote_code=False)
        job = replace(job, soft_labels=None, teacher=source)
    loss, called = StudentLoss(student, job, pad_id=0, teacher=teacher), []
    for module in (decoder_of(student), output_head(student)):
        module.register_forward_hook(lambda module, *_: called.append(type(module).__name__))
    for step in (MicroBatch((0, 5, 9, 11), (1, 3, 4)), MicroBatch((0,), (2,)), MicroBatch((), (1, 2))):
        step = replace(step, alignment=step.alignment if load_method(job.settings.method).alignment else ())
        step = loss.rows(0, step)
        if not step.user and not step.alignment:
            continue
        sequences, total = [], 0.0
        for rank in range(2):
            for piece in share_of(step, rank, 2, accumulation=2):
                called.clear()
                found = loss(piece, step)["loss"]
                sequences.append(tuple(called))
                found.backward()
                total += found.item()
        assert len(set(sequences)) == 1
        assert total == pytest.approx(loss(step, step)["loss"].item(), rel=1e-4, abs=1e-6)


def test_an_online_teacher_says_what_all_soft_labels_say(tiny_model, tmp_path):
    """As a second adapter of the student's own base, and as a model of its own."""
    teacher = wrap_lora(load_model(tiny_model), LoraSettings(rank=4))
    torch.manual_seed(1)
    for parameter in teacher.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    teacher.save_pretrained(tmp_path)
    alone = load_model(tiny_model, adapter=tmp_path)
    job = labelled(make_job(tiny_model), alone, VOCABULARY)
    source = TeacherWeights(tmp_path, True, tiny_model, 1.5)
    online = replace(job, soft_labels=None, teacher=source)
    expected = StudentLoss(load_model(tiny_model), job, pad_id=0)(STEP, STEP)["kl"].item()
    assert expected > 1e-4
    for student in (wrap_lora(load_model(tiny_model), LoraSettings(rank=4)), load_model(tiny_model)):
        trained = [name for name, p in student.named_parameters() if p.requires_grad]
        beside = online_teacher(source, tiny_model, student, dtype=torch.float32, trust_remote_code=False)
        assert beside._shared == hasattr(student, "peft_config")
        assert [name for name, p in student.named_parameters() if p.requires_grad] == trained
        loss = StudentLoss(student, online, pad_id=0, teacher=beside)
        assert loss(STEP, STEP)["kl"].item() == pytest.approx(expected, rel=1e-3)
        loss(STEP, STEP)["loss"].backward()
        assert {name for name, p in student.named_parameters() if p.grad is not None} == set(trained)
