"""A finetuning in a process of its own, in folders of its own, and what it leaves there."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from safetensors.torch import load_file

from reft.storage.artifacts import read_json
from tests.factories import change, hear_interrupts

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
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts)

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
