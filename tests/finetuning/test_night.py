"""However a finetuning ends, nothing stays but results, and what was cut off goes on as if nothing had been."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from reft.storage.artifacts import read_json
from tests.factories import change

SECONDS = 240


@dataclass
class Night:
    """Folders of its own for a finetuning in a process of its own."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, job) -> subprocess.Popen:
        self.temporary.mkdir(parents=True, exist_ok=True)
        job = change(job, work_folder=str(self.root / "work"))
        job.save(self.root / "job")
        command = [sys.executable, "-m", "tests.finetuning.fit_job", str(self.root / "job"), str(self.root / "result")]
        environment = {**os.environ, "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1", **self.environment}
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def run(self, job) -> str:
        """To its end; what was said."""
        return self.start(job).communicate(timeout=SECONDS)[1]

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    def left(self) -> list[str]:
        """Temporary files, and those beside the jobs' own folders."""
        beside = (path for path in (self.root / "work").glob("*") if not path.is_dir())
        shared = Path("/dev/shm").glob("deepspeed*") if Path("/dev/shm").is_dir() else ()
        return sorted(map(str, (*self.temporary.rglob("*"), *beside, *shared)))

    def processes(self) -> list[psutil.Process]:
        """Those that run with our temporary folder, or one in it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                given = process.environ().get("TMPDIR", "")
                if process.pid != os.getpid() and given.startswith(str(self.temporary)):
                    found.append(process)
        return found

    def steps(self) -> int:
        lines = list((self.root / "work").glob("*/metrics.jsonl"))
        return len(lines[0].read_bytes().splitlines()) if lines else 0

    def result(self):
        weights = load_file(next((self.root / "result").rglob("adapter_model.safetensors")))
        return read_json(self.root / "result" / "losses.json"), {name: w.tolist() for name, w in weights.items()}


def wait_for(happened: Callable[[], object], seconds: float = SECONDS) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def long(job):
    return change(job, epochs=8, checkpoint_every=3)


@pytest.fixture(scope="module")
def undisturbed(long, tmp_path_factory):
    night = Night(tmp_path_factory.mktemp("undisturbed"))
    assert "error" not in night.run(long)
    assert (night.left(), night.processes()) == ([], [])
    assert not list((night.root / "work").iterdir())
    return night.result()


@pytest.mark.slow
def test_killed_with_all_signals_against_it_and_started_again_it_is_the_same_training(long, undisturbed, tmp_path):
    night = Night(tmp_path)
    process = night.start(long)
    wait_for(lambda: night.steps() >= 5)
    process.kill()
    process.communicate()
    wait_for(lambda: not night.processes(), seconds=15)
    assert not (tmp_path / "result").exists()
    assert "error" not in night.run(long)
    assert (night.left(), night.processes()) == ([], [])
    assert night.result() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_leaves_its_checkpoint_alone(long, undisturbed, tmp_path, ending):
    night = Night(tmp_path)
    process = night.start(long)
    wait_for(lambda: night.steps() >= 4)
    process.send_signal(ending)
    process.communicate(timeout=60)
    assert (night.left(), night.processes()) == ([], [])
    assert list((tmp_path / "work").glob("*/checkpoints/newest.json"))
    night.run(long)
    assert night.result() == undisturbed


@pytest.mark.slow
def test_a_failure_leaves_nothing_but_what_tells_of_it(long, tmp_path):
    night = Night(tmp_path)
    said = night.run(change(replace(long, alignment=long.alignment * 2), alignment_ratio=3.0))
    assert "finetuning failed on rank 0" in said
    assert (night.left(), night.processes()) == ([], [])
    assert list((tmp_path / "work").glob("*/error-0.json"))


@pytest.mark.slow
def test_killed_while_deepspeed_compiles_it_goes_through_at_the_next_start(long, undisturbed, tmp_path):
    """Its compilers end with it, and so does their lock."""
    night = Night(tmp_path, {"TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions")})
    process = night.start(long)
    wait_for(lambda: any("cc1plus" in p.name() for p in night.processes()))
    assert list((tmp_path / "extensions").glob("*/lock"))
    process.kill()
    process.communicate()
    wait_for(lambda: not night.processes(), seconds=15)
    said = night.run(long)
    assert "was killed: its lock is taken away" in said
    assert "compiling deepspeed_shm_comm, once" in said
    assert (night.left(), night.processes()) == ([], [])
    assert night.result() == undisturbed
