"""Locks of compilations: those of the living are waited for, those of the dead are taken away."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from reft.finetuning import compiling
from reft.finetuning.compiling import COMPILING_SECONDS, Compilations, is_dead
from reft.runtime.processes import LAUNCHER, end_marked, new_mark

BUILD = """
from pathlib import Path
from torch.utils.cpp_extension import load
source = Path("part.cpp")
source.write_text('#include <torch/extension.h>\\nint one() { return 1; }\\n'
                  'PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("one", &one); }\\n')
print(load("part", [str(source)]).one())
"""


@pytest.fixture
def lock(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(compiling, "LOOK_SECONDS", 0.05)
    lock = tmp_path / "part" / "lock"
    lock.parent.mkdir()
    return lock


def test_a_lock_that_nobody_holds_goes_and_one_that_is_held_stays(lock, capsys):
    held = os.open(lock, os.O_CREAT | os.O_EXCL)  # as torch makes it
    watch = Compilations("ours")
    for _ in range(3):
        assert watch.look()
        time.sleep(0.06)
    assert lock.exists()
    assert f"waiting for another compilation of part (process {os.getpid()})" in capsys.readouterr().err
    os.close(held)
    watch.wait()
    assert not lock.exists()
    assert capsys.readouterr().err.count("was killed: its lock is taken away") == 1


def test_a_lock_is_looked_at_twice(lock):
    """Torch closes its lock's file just before it removes it."""
    lock.touch()
    assert Compilations("ours").look()
    assert lock.exists()


def test_who_cannot_be_seen_may_live(lock, monkeypatch):
    """A lock on storage that machines share, or another user's, goes by its age alone."""
    lock.touch()
    assert is_dead(lock)
    for name, value in (("_is_of_this_machine", lambda _: False), ("os.geteuid", lambda: os.getuid() + 1)):
        with monkeypatch.context() as patch:
            patch.setattr(f"reft.finetuning.compiling.{name}", value)
            assert not is_dead(lock)
            os.utime(lock, (0, time.time() - 2 * COMPILING_SECONDS))
            assert is_dead(lock)
            os.utime(lock)


@pytest.mark.night
@pytest.mark.slow
def test_a_compilation_of_torchs_that_was_killed_holds_nobody_up(lock, capfd):
    mark = new_mark()
    command, environment = [sys.executable, "-c", BUILD], {**os.environ, LAUNCHER: mark}
    lock.parent.rmdir()
    killed = subprocess.Popen(command, cwd=lock.parents[1], env=environment)
    while not lock.exists():
        assert killed.poll() is None
        time.sleep(0.01)
    while not psutil.Process(killed.pid).children():
        time.sleep(0.01)
    Compilations(mark).look()
    Compilations("another's").look()
    said = capfd.readouterr().err
    assert "compiling part, once" in said
    assert "waiting for another compilation of part" in said
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    watch = Compilations(mark)
    assert watch.look()
    assert lock.exists()  # ninja is at work in the folder
    end_marked(mark)
    began = time.monotonic()
    watch.wait()
    assert time.monotonic() - began < 10
    assert not lock.exists()
    built = subprocess.run(command, cwd=lock.parents[1], capture_output=True, text=True, timeout=300)
    assert built.stdout == "1\n"
