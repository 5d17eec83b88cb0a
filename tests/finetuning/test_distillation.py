import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from reft.errors import TrainingError
from reft.finetuning.artifact import Student
from reft.finetuning.checkpoints import last_step
from reft.finetuning.job import FinetuneJob, job_folder
from reft.finetuning.kl import sparse_kl_sum
from reft.finetuning.launch import run_finetune
from reft.finetuning.schedule import class_shares, plan_steps, share_of
from reft.models.loading import load_model
from reft.soft_labels.labels import SoftLabels
from tests.factories import change


def naive_kl(student, teacher, temperature):
    p = torch.softmax(teacher.double() / temperature, -1)
    q = torch.softmax(student.double() / temperature, -1)
    return (p * (p.log() - q.log())).sum().item()


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_sparse_kl_grows_with_k_to_the_full_kl(temperature):
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 40) * 2, torch.randn(6, 40) * 2
    log_probs = torch.log_softmax(teacher / temperature, -1)
    values = []
    for k in (1, 5, 20, 40):
        top = log_probs.topk(k, -1)
        values.append(sparse_kl_sum(student, top.values, top.indices, temperature=temperature).item())
    assert values == sorted(values)
    assert values[-1] == pytest.approx(naive_kl(student, teacher, temperature), rel=1e-4)


def test_sparse_kl_has_the_right_gradient():
    torch.manual_seed(0)
    student = torch.randn(2, 9, dtype=torch.float64, requires_grad=True)
    top = torch.log_softmax(torch.randn(2, 9), -1).topk(3, -1)
    assert torch.autograd.gradcheck(
        lambda s: sparse_kl_sum(s, top.values, top.indices, temperature=1.5), student, atol=1e-4
    )


def test_every_step_sees_both_terms_and_every_row_once():
    lengths = [3, 9, 4], [8, 5, 7, 6]
    steps = plan_steps([5] * 21, lengths, (0.5, 0.5), batch_size=4, epochs=2, alignment_ratio=0.5, seed=0)
    assert sorted(i for s in steps for i in s.user) == sorted(list(range(21)) * 2)
    assert all(len(s.alignment) == 2 for s in steps)
    for step in steps:
        parts = [piece for rank in range(2) for piece in share_of(step, rank, 2, accumulation=2)]
        assert sorted(i for p in parts for i in p.user) == sorted(step.user)
        assert sorted(i for p in parts for i in p.alignment) == sorted(step.alignment)


def test_a_small_job_learns_to_refuse_as_well():
    """However few the user rows, at least so many alignment rows are seen, spread among them."""
    lengths = [3, 9, 4], [8, 5, 7, 6]
    steps = plan_steps(
        [5] * 6, lengths, (0.5, 0.5), batch_size=2, epochs=1, alignment_ratio=2.0, seed=0, least_alignment=37
    )
    assert sorted(i for s in steps for i in s.user) == list(range(6))
    assert [len(s.alignment) for s in steps] == [4] * 10
    assert [bool(s.user) for s in steps].index(True) < 4
    where = [place for place, step in enumerate(steps) if step.user]
    assert max(later - earlier for earlier, later in pairwise(where)) <= 4
    assert np.mean([i < 3 for s in steps for i in s.alignment]) == pytest.approx(0.5)
    enough = plan_steps(
        [5] * 6, lengths, (0.5, 0.5), batch_size=2, epochs=1, alignment_ratio=2.0, seed=0, least_alignment=12
    )
    assert enough == plan_steps([5] * 6, lengths, (0.5, 0.5), batch_size=2, epochs=1, alignment_ratio=2.0, seed=0)
    assert all(
        s.alignment == ()
        for s in plan_steps(
            [5] * 6, ((), ()), (0.0, 1.0), batch_size=2, epochs=1, alignment_ratio=2.0, seed=0, least_alignment=12
        )
    )


def test_alignment_rows_come_in_the_wanted_shares_and_in_similar_lengths():
    rng = np.random.default_rng(0)
    harmful, harmless = rng.integers(10, 100, 40).tolist(), rng.integers(10, 100, 160).tolist()
    lengths = harmful + harmless
    for wanted, expected in ((0.5, 0.5), (None, 0.2)):
        shares = class_shares(40, 200, wanted)
        steps = plan_steps([5] * 320, (harmful, harmless), shares, batch_size=4, epochs=1, alignment_ratio=2.0, seed=0)
        drawn = [i for step in steps for i in step.alignment]
        assert len(drawn) == 640
        assert np.mean([i < 40 for i in drawn]) == pytest.approx(expected, abs=0.01)
        assert set(drawn) == set(range(200))  # nobody starves
        padded = np.mean([max(lengths[i] for i in step.alignment) for step in steps])
        assert padded < 1.2 * np.mean([lengths[i] for i in drawn])
    assert class_shares(0, 5, 0.3) == (0.0, 1.0)
    assert (
        plan_steps([5] * 4, ((), ()), class_shares(0, 0, 0.3), batch_size=4, epochs=1, alignment_ratio=2.0, seed=0)[
            0
        ].alignment
        == ()
    )


def test_soft_labels_and_job_survive_storage(job, tmp_path):
    job.save(tmp_path)
    again = FinetuneJob.load(tmp_path)
    assert again.settings == job.settings
    assert [r.input_ids for r in again.user] == [r.input_ids for r in job.user]
    assert isinstance(again.soft_labels, SoftLabels)
    torch.testing.assert_close(again.soft_labels.of_row(3), job.soft_labels.of_row(3))


@pytest.mark.slow
def test_deepspeed_gives_the_same_curve_on_one_process_and_on_two(job, tmp_path):
    curves = []
    for processes, stage in ((1, 2), (2, 2)):
        metrics = []
        output = run_finetune(
            change(job, processes=processes, zero_stage=stage), tmp_path / str(processes), metrics.append
        )
        curves.append([m["loss"] for m in metrics])
        assert (output / "adapter_model.safetensors").is_file()
        load_model(job.model.name, adapter=output)
    assert len(curves[0]) == 6
    assert curves[0][-1] < curves[0][0]
    log = (tmp_path / "2" / "log.txt").read_text()
    for rank in range(2):
        assert re.search(rf"\[rank {rank}\] step: 6/6, loss [\d.]+, \d+ tokens/s, 0:\d\d so far", log)
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-3)


@pytest.mark.slow
def test_full_finetuning_writes_a_model_and_plain_needs_no_teacher(job, tmp_path):
    plain = replace(change(job, lora=None, learning_rate=1e-3), alignment=(), soft_labels=None)
    metrics = []
    output = run_finetune(plain, tmp_path / "job", metrics.append)
    assert all(m["kl"] == 0 for m in metrics)
    load_model(str(output))
    student = Student(output, False, 12, metrics)
    student.save(tmp_path / "saved")
    assert Student.load(tmp_path / "saved").history == metrics


def ranks():
    found = []
    for child in psutil.Process(os.getpid()).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # dead or a zombie: killed after an earlier step
            if "reft.finetuning.worker" in child.cmdline() and "torch.distributed.run" not in child.cmdline():
                found.append(child)
    return found


def kill_ranks(_metrics=None):
    for rank in ranks():
        rank.kill()


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_training_in_bounded_time(job, tmp_path):
    started = []

    def freeze(metrics):
        if metrics["step"] == 3:
            ranks()[-1].suspend()
            started.append(time.monotonic())

    with pytest.raises(TrainingError, match=r"no step for 0.6 minutes|[Tt]imed out|[Tt]imeout"):
        run_finetune(change(job, epochs=2000, processes=2, stalled_minutes=0.6), tmp_path / "job", freeze)
    assert time.monotonic() - started[0] < 120
    assert not ranks()


@pytest.mark.slow
def test_a_killed_process_is_an_error_that_says_so(job, tmp_path):
    with pytest.raises(TrainingError, match="died"):
        run_finetune(change(job, epochs=200), tmp_path / "job", kill_ranks)


@pytest.mark.slow
def test_a_stopped_training_resumes(job, tmp_path):
    """SIGKILL on two ranks, SIGTERM on two ranks, the rest on one, against the same training left alone."""
    long = change(job, epochs=15, checkpoint_every=4, processes=2)  # 45 steps: a signal may arrive some steps late
    whole, resumed = [], []
    expected = run_finetune(long, tmp_path / "whole", whole.append)
    with pytest.raises(TrainingError, match="died"):
        run_finetune(long, tmp_path / "job", lambda m: kill_ranks() if m["step"] == 9 else None)
    killed_at = last_step(tmp_path / "job")
    assert killed_at in range(4, 45, 4)
    with pytest.raises(TrainingError, match="stopped by SIGTERM and saved"):
        run_finetune(
            long,
            tmp_path / "job",
            lambda m: os.kill(os.getpid(), signal.SIGTERM) if m["step"] == killed_at + 2 else None,
        )
    assert killed_at + 2 <= last_step(tmp_path / "job") < 45
    assert len(list((tmp_path / "job" / "checkpoints").glob("step-*"))) == 1  # rotated
    output = run_finetune(change(long, processes=1), tmp_path / "job", resumed.append)
    assert [m["step"] for m in resumed] == list(range(1, 46))
    np.testing.assert_allclose([m["loss"] for m in resumed], [m["loss"] for m in whole], rtol=1e-3)
    one, other = (load_file(o / "adapter_model.safetensors") for o in (expected, output))
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_ranks_end_with_whoever_started_them(job, tmp_path):
    """Even if that one was killed: they must not write where its successor will."""
    change(job, epochs=2000).save(tmp_path / "asked")
    code = (
        "import sys; from pathlib import Path; from reft.finetuning.job import FinetuneJob;"
        "from reft.finetuning.launch import run_finetune; folder = Path(sys.argv[1]);"
        "run_finetune(FinetuneJob.load(folder / 'asked'), folder / 'job')"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    deadline = time.monotonic() + 120
    metrics = tmp_path / "job" / "metrics.jsonl"
    while not metrics.is_file() or not metrics.stat().st_size:
        assert launcher.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    started = psutil.Process(launcher.pid).children(recursive=True)
    launcher.kill()
    launcher.wait()
    gone, alive = psutil.wait_procs(started, timeout=30)
    assert gone
    assert not alive


def test_a_job_has_a_folder_of_its_own_until_it_succeeds(job, tmp_path):
    def fail():
        with job_folder(job, tmp_path) as folder:
            (folder / "checkpoint").touch()
            with pytest.raises(TrainingError, match="another process"), job_folder(job, tmp_path):
                pass
            raise ZeroDivisionError(folder)

    with pytest.raises(ZeroDivisionError) as failed:
        fail()
    first = failed.value.args[0]
    with job_folder(job, tmp_path) as again:
        assert again == first
        assert (again / "checkpoint").exists()
    assert not again.exists()
    with job_folder(change(job, timeout_minutes=3), tmp_path) as same:
        assert same == first
    with job_folder(change(job, epochs=3), tmp_path) as other:
        assert other != first


@pytest.mark.slow
def test_a_failing_rank_brings_its_own_traceback(job, tmp_path):
    broken = replace(job, alignment=job.alignment * 2)  # more rows than soft labels
    with pytest.raises(TrainingError, match=r"IndexError[\s\S]*where"):
        run_finetune(change(broken, alignment_ratio=3.0), tmp_path / "job")
    assert json.loads((tmp_path / "job" / "error-0.json").read_text())["kind"] == "fault"


@pytest.mark.slow
def test_a_loss_that_explodes_names_the_rows_and_leaves_the_state_before(job, tmp_path):
    with pytest.raises(TrainingError, match=r"exploded|not a number") as stopped:
        run_finetune(change(job, lora=None, learning_rate=1e3, epochs=20), tmp_path / "job")
    step = int(re.search(r"step (\d+), user rows \[\d+", str(stopped.value))[1])
    assert last_step(tmp_path / "job") == step - 1
    losses = [json.loads(line)["loss"] for line in (tmp_path / "job" / "metrics.jsonl").open()]
    assert len(losses) == step - 1
    assert np.isfinite(losses).all()
