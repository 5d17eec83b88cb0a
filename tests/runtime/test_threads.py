import os
import subprocess
import sys

import pytest

from reft.runtime import threads


@pytest.fixture
def before_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in (threads.SPINS, "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("flags", "spins"), [("fpu sse2 amx_bf16", 20000), ("fpu sse2 avx512_bf16", 1000)])
@pytest.mark.usefixtures("before_torch")
def test_how_long_threads_spin_depends_on_how_long_a_step_is(monkeypatch, tmp_path, flags, spins):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    instructions = threads._instructions(tmp_path / "cpuinfo")
    monkeypatch.setattr(threads, "_instructions", lambda: instructions)
    threads.wait_briefly()
    assert os.environ[threads.SPINS] == str(spins)


def test_a_system_that_does_not_tell_its_instructions_is_no_fault(tmp_path):
    assert threads._instructions(tmp_path / "absent") == set()


@pytest.mark.usefixtures("before_torch")
@pytest.mark.parametrize("name", [threads.SPINS, "OMP_WAIT_POLICY"])
def test_what_somebody_has_set_stands(monkeypatch, name):
    monkeypatch.setenv(name, "ACTIVE")
    threads.wait_briefly()
    assert os.environ[name] == "ACTIVE"
    assert len({threads.SPINS, "OMP_WAIT_POLICY"} & os.environ.keys()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["reft.cli", "reft.finetuning.worker", "reft_pipeline"])
def test_every_entry_sets_it_before_torch_is_loaded(entry):
    """libgomp reads it when it is loaded; whoever set it later would change nothing."""
    code = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("SPINS", os.environ.get("{threads.SPINS}"))
sys.meta_path.insert(0, Watch())
sys.argv = ["x"]
import {entry}, torch
"""
    unset = {k: v for k, v in os.environ.items() if k not in (threads.SPINS, "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], env=unset, capture_output=True, text=True, timeout=300)
    said = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("SPINS")]
    assert said, done.stderr[-2000:]
    assert set(said) <= {str(threads.LONG), str(threads.SHORT)}, said
