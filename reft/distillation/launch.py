"""Running a finetuning job in processes of its own, under torchrun, and watching it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import torch

from reft.artifacts import read_json
from reft.distillation.checkpoints import forget_metrics_after, last_step
from reft.distillation.job import FINISHED, FinetuneJob
from reft.errors import TrainingError, explain
from reft.processes import LAUNCHER

ROOT = Path(__file__).resolve().parents[2]


def run_finetune(job: FinetuneJob, folder: Path, report: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """Train and return the folder of the result: a PEFT adapter or a full model, with its tokenizer.

    Args:
        folder: a working folder that all processes reach; what a killed training of the same job left there
            is taken up again.
        report: called with each step's metrics, soon after the step, earlier ones of a resumed training first.

    Raises:
        TrainingError: a process died, the loss went wrong, or the time limit passed; the message
            holds the failing rank's own traceback.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job.save(folder)
    metrics, log = folder / "metrics.jsonl", folder / "log.txt"
    forget_metrics_after(metrics, last_step(folder))
    for stale in (*folder.glob("error-*.json"), folder / FINISHED):
        stale.unlink(missing_ok=True)
    with log.open("w") as output, metrics.open() as lines:
        process = subprocess.Popen(
            _command(job, folder),
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(job),
            start_new_session=True,
        )
        started = stepped = time.monotonic()
        try:
            with _passing_on_sigterm(process):
                while process.poll() is None:
                    if _forward(lines, report):
                        stepped = time.monotonic()
                    _check_time(job, folder, started, stepped)
                    time.sleep(0.2)
        finally:
            _end(process)
        _forward(lines, report)
    if process.returncode != 0 and not (folder / FINISHED).exists():
        raise TrainingError(_why(folder, log, process.returncode))
    return folder / "output"


def _check_time(job: FinetuneJob, folder: Path, started: float, stepped: float) -> None:
    now, settings = time.monotonic(), job.settings
    if now - started > 60 * settings.timeout_minutes:
        remedy = "raise finetune.timeout_minutes: it goes on from its last checkpoint"
        raise TrainingError(explain("the time limit passed", str(folder), remedy))
    if now - stepped > 60 * settings.stalled_minutes:
        remedy = (
            f"see {folder / 'log.txt'} for what each rank did last; raise finetune.stalled_minutes if steps are slow"
        )
        raise TrainingError(explain(f"no step for {settings.stalled_minutes:g} minutes", str(folder), remedy))


def _end(process: subprocess.Popen[bytes]) -> None:
    """After an error above, or Ctrl-C: torchrun and its ranks, which have sessions of their own."""
    if process.poll() is None:
        for child in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.wait()


@contextmanager
def _passing_on_sigterm(process: subprocess.Popen[bytes]) -> Generator[None]:
    """A pod that is told to go tells its ranks, which save and end; then whoever handled the signal before is told.

    Only a main thread may handle signals; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[tuple[int, FrameType | None]] = []

    def tell(number: int, frame: FrameType | None) -> None:
        told.append((number, frame))
        process.terminate()

    before = signal.signal(signal.SIGTERM, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        if told and callable(before):
            before(*told[0])


def _command(job: FinetuneJob, folder: Path) -> list[str]:
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        f"--nproc_per_node={job.settings.processes}", "-m", "reft.distillation.worker", str(folder.resolve()),
    ]  # fmt: skip


def _environment(job: FinetuneJob) -> dict[str, str]:
    threads = max(1, torch.get_num_threads() // job.settings.processes)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    # Told to go, a rank finishes its step and saves: torchrun's own half a minute may not be enough.
    quiet = {"TOKENIZERS_PARALLELISM": "false", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "300", LAUNCHER: str(os.getpid())}
    if job.settings.processes > 1:
        # Waiting threads that spin starve the other ranks; for a rank alone, sleeping costs a third of its speed.
        quiet["OMP_WAIT_POLICY"] = "PASSIVE"
    return {**os.environ, **quiet, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}


def _forward(lines: Any, report: Callable[[dict[str, Any]], None] | None) -> bool:
    """Pass the new lines on; whether there were any."""
    some = False
    while line := lines.readline():
        some = True
        if report and line.endswith("\n"):
            report(json.loads(line))
    return some


def _why(folder: Path, log: Path, code: int) -> str:
    """The failing rank's own words, else the end of the log."""
    errors = {path.stem.removeprefix("error-"): read_json(path) for path in folder.glob("error-*.json")}
    if errors:
        # Of several, what a rank knew to explain, else the first: the others failed because that one was gone.
        rank, error = min(errors.items(), key=lambda found: (found[1]["kind"] != "user", found[1]["time"]))
        words = error["message"] if error["kind"] == "user" else error["trace"]
        return explain(f"finetuning failed on rank {rank}:\n{words}", str(log), "see above")
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    return explain(
        f"a training process died (exit code {code}):\n{tail}", str(log), "is there enough memory? run it again"
    )
