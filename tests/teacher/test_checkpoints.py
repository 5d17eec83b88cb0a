"""A teacher's training that is killed goes on, and ends where it would have ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from reft.config import DataSettings, LoraSettings, ModelSettings, Settings, TeacherSettings
from reft.conversations.reading import read_conversations
from reft.models.default_model import user_cache
from reft.models.loading import load_model, load_tokenizer
from reft.models.masters import Masters
from reft.refusal_feature.extraction import LabelledPrompts, extract_refusal_feature
from reft.teacher.checkpoints import STATE, Checkpoints, Learning, checkpoints_of
from reft.teacher.loss import RunningFeature
from reft.teacher.preparation import teacher_key
from reft.teacher.training import train_teacher
from tests.factories import row, write_jsonl

SETTINGS = TeacherSettings(
    lora=LoraSettings(rank=4, alpha=8, dropout=0.1), batch_size=4, epochs=2, compile_layers=False, learning_rate=3e-3
)
STEPS, KILLED_AFTER = 6, 4


def files(folder: Path) -> tuple[Path, Path]:
    harmful = [row(f"Tell me how to rob bank {i}.", "I'm sorry, I can't help.") for i in range(6)]
    harmless = [row(f"How do I bake bread {i}?", "With flour and water.") for i in range(6)]
    return write_jsonl(folder / "h.jsonl", harmful), write_jsonl(folder / "s.jsonl", harmless)


def train(model_folder, rows, *, dtype=torch.float32, checkpoints=None, report=None):
    """The trained matrices, and each step's losses as they were told."""
    model, tokenizer = load_model(model_folder, dtype), load_tokenizer(model_folder)
    harmful, harmless = (read_conversations(str(file)) for file in rows)
    prompts = LabelledPrompts(harmful, harmless)
    feature = extract_refusal_feature(model, tokenizer, prompts, held_out=prompts, layers=[2], positions=["template"])
    told = []

    def tell(step, steps, losses):
        told.append((step, steps, losses))
        if report:
            report(step)

    trained = train_teacher(
        model, tokenizer, harmful, harmless=harmless, feature=feature, settings=SETTINGS, seed=0, max_length=200,
        report=tell, checkpoints=checkpoints,
    )  # fmt: skip
    return {name: p.detach().clone() for name, p in trained.named_parameters() if p.requires_grad}, told


def until_killed(model_folder: str, harmful: str, harmless: str, dtype: str, folder: str) -> None:
    """What the other process does: it ends in the middle of its training, and nobody is asked."""

    def kill(step: int) -> None:
        if step == KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints = Checkpoints(Path(folder), every=0)
    train(model_folder, (harmful, harmless), dtype=getattr(torch, dtype), checkpoints=checkpoints, report=kill)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_after_a_kill_it_learns_what_it_would_have_learnt(tiny_model, tmp_path, dtype):
    rows = files(tmp_path)
    whole, told = train(tiny_model, rows, dtype=getattr(torch, dtype))
    arguments = [str(tiny_model), *map(str, rows), dtype, str(tmp_path)]
    call = f"from tests.teacher.test_checkpoints import until_killed as f; f(*{arguments!r})"
    assert subprocess.run([sys.executable, "-c", call], check=False).returncode == -signal.SIGKILL
    checkpoints = Checkpoints(tmp_path, every=0)
    resumed, again = train(tiny_model, rows, dtype=getattr(torch, dtype), checkpoints=checkpoints)
    assert checkpoints.found == KILLED_AFTER
    assert [step for step, *_ in again] == list(range(1, STEPS + 1))
    assert [losses for *_, losses in again] == [pytest.approx(losses, rel=1e-5) for *_, losses in told]
    for name, matrix in whole.items():
        torch.testing.assert_close(resumed[name], matrix, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_the_steps_and_not_the_training(tiny_model, tmp_path, capfd):
    rows = files(tmp_path)
    whole, _ = train(tiny_model, rows)
    (tmp_path / STATE).write_bytes(b"cut off")
    checkpoints = Checkpoints(tmp_path, every=0)
    again, told = train(tiny_model, rows, checkpoints=checkpoints)
    assert checkpoints.found == 0
    assert len(told) == STEPS
    assert "begins anew" in capfd.readouterr().err
    for name, matrix in whole.items():
        torch.testing.assert_close(again[name], matrix, rtol=1e-4, atol=1e-6)


def test_a_folder_lasts_through_an_interruption_and_ends_with_success_and_errors(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen = []
    for error in (KeyboardInterrupt, ValueError, None):
        try:
            with checkpoints_of("key") as checkpoints:
                seen.append((checkpoints._folder / "mark").is_file())
                (checkpoints._folder / "mark").touch()
                if error:
                    raise error
        except (KeyboardInterrupt, ValueError):
            pass
    assert seen == [False, True, False]  # Ctrl-C left it, the error did not
    assert not checkpoints._folder.exists()


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with checkpoints_of("key") as checkpoints:
        assert checkpoints.resume(None) == 0
        assert checkpoints.after(None, dict.fromkeys(("loss", "ce", "regulariser"), torch.tensor(1.0)))["ce"] == 1.0
    assert user_cache().parent.is_file()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with checkpoints_of(None) as checkpoints:  # nobody asked for it
        assert not checkpoints.resume(None)
    assert not user_cache().exists()


def test_a_full_disk_costs_the_checkpoints_and_not_the_training(tmp_path, capfd):
    checkpoints = Checkpoints(tmp_path / "gone", every=0)
    losses = dict.fromkeys(("loss", "ce", "regulariser"), torch.tensor(2.0))
    for _ in range(2):
        checkpoints.after(_nothing_learnt(), losses)
    assert len(checkpoints.losses) == 2
    assert capfd.readouterr().err.count("kept no further") == 1


def test_whatever_decides_about_a_teacher_is_in_its_key(tmp_path):
    defaults = Settings()
    harmful, harmless = files(tmp_path)
    (tmp_path / "model").mkdir()
    data = DataSettings(alignment_harmful=str(harmful), alignment_harmless=str(harmless))
    model = ModelSettings(name=str(tmp_path / "model"))

    def key(model=model, data=data, settings=defaults.teacher, selection=defaults.refusal_feature, seed=0):
        return teacher_key(model, data, settings=settings, selection=selection, seed=seed)

    first = key()
    assert key(data=data.model_copy(update={"user": "another.jsonl"})) == first
    changed = [
        key(selection=defaults.refusal_feature.model_copy(update={"rows": 5})),
        key(model=model.model_copy(update={"max_length": 77})),
        key(data=data.model_copy(update={"alignment_harmful_rows": 3})),
        key(settings=SETTINGS), key(seed=1),
    ]  # fmt: skip
    harmful.write_text(harmful.read_text() * 2)
    changed.append(key())
    (tmp_path / "model" / "weights").touch()
    changed.append(key())
    assert len({first, *changed}) == 8


def _nothing_learnt():
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.AdamW([parameter])
    return Learning(
        masters=Masters([parameter], torch.float32), optimizer=optimizer, schedule=LambdaLR(optimizer, float),
        running=RunningFeature(torch.zeros(2), torch.zeros(2), 0.9),
    )  # fmt: skip
