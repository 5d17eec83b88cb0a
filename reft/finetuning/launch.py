"""Running a finetuning job in processes of its own, under torchrun, and watching it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from reft.config import FinetuningSettings
from reft.errors import TrainingError, explain
from reft.finetuning.compiling import Compilations
from reft.finetuning.job import FINISHED, FULL_DISK, FinetuneJob
from reft.finetuning.monitoring import MetricsFollower, Report, failing_rank, prepare_folder, rank_errors
from reft.runtime.processes import LAUNCHER, end_marked, new_mark, on_sigterm
from reft.storage.artifacts import scratch, why_not_writable, written

ROOT = Path(__file__).resolve().parents[2]


def run_finetune(job: FinetuneJob, folder: Path, report: Report | None = None) -> Path:
    """Train and return the folder of the result: a PEFT adapter or a full model, with its tokenizer.

    Args:
        folder: a working folder that all processes reach; what a killed training of the same job left there
            is taken up again.
        report: called with each step's metrics, soon after the step, earlier ones of a resumed training first.

    Raises:
        TrainingError: a process died, the loss went wrong, or the time limit passed; the message
            holds the failing rank's own traceback.
        StorageError: the disk is full or the folder cannot be written.
    """
    log, mark = folder / "log.txt", new_mark()
    with written(folder, FULL_DISK):
        folder.mkdir(parents=True, exist_ok=True)
        job.save(folder)
        prepare_folder(folder)
        log.write_bytes(b"")
    compilations, metrics = Compilations(mark), MetricsFollower(folder / "metrics.jsonl", report)
    compilations.wait()
    with log.open("w") as output, scratch("finetuning") as temporary:
        environment = _environment(job) | {LAUNCHER: mark, "TMPDIR": str(temporary)}
        process = subprocess.Popen(
            _command(job, folder), stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        started = stepped = time.monotonic()
        try:
            with on_sigterm(process.terminate):
                while process.poll() is None:
                    now = time.monotonic()
                    if metrics.forward():
                        stepped = now
                    elif stepped == started:
                        compilations.look()
                    check_time(job.settings, folder, now - started, idle=now - stepped)
                    time.sleep(0.2)
        finally:
            # Torchrun, its ranks, which have sessions of their own, and their compilers.
            end_marked(mark)
            process.wait()
        metrics.forward()
    if process.returncode != 0 and not (folder / FINISHED).exists():
        raise TrainingError(_why(folder, log, process.returncode))
    return folder / "output"


def check_time(settings: FinetuningSettings, folder: Path, ran: float, *, idle: float) -> None:
    """Give up a training that takes too long.

    Args:
        ran: seconds that it has run.
        idle: seconds since its last step.

    Raises:
        TrainingError: one of the two limits passed.
    """
    if ran > 60 * settings.timeout_minutes:
        remedy = "raise finetuning.timeout_minutes: it goes on from its last checkpoint"
        raise TrainingError(explain("the time limit passed", str(folder), remedy))
    if idle > 60 * settings.stalled_minutes:
        remedy = (
            f"see {folder / 'log.txt'} for what each rank did last; raise finetuning.stalled_minutes if steps are slow"
        )
        raise TrainingError(explain(f"no step for {settings.stalled_minutes:g} minutes", str(folder), remedy))


def _command(job: FinetuneJob, folder: Path) -> list[str]:
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        f"--nproc_per_node={job.settings.processes}", "-m", "reft.finetuning.worker", str(folder.resolve()),
    ]  # fmt: skip


def _environment(job: FinetuneJob) -> dict[str, str]:
    threads = max(1, torch.get_num_threads() // job.settings.processes)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    # Told to go, a rank finishes its step and saves: torchrun's own half a minute may not be enough.
    quiet = {"TOKENIZERS_PARALLELISM": "false", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "300"}
    if job.settings.processes > 1:
        # Waiting threads that spin starve the other ranks; for a rank alone, sleeping costs a third of its speed.
        quiet["OMP_WAIT_POLICY"] = "PASSIVE"
    return {**os.environ, **quiet, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}


def _why(folder: Path, log: Path, code: int) -> str:
    """The failing rank's own words, else the end of the log."""
    if errors := rank_errors(folder):
        rank, words = failing_rank(errors)
        return explain(f"finetuning failed on rank {rank}:\n{words}", str(log), "see above")
    if trouble := why_not_writable(folder):  # nor could it say so
        return explain(f"the training could not write: {trouble}", str(folder), FULL_DISK)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    return explain(
        f"a training process died (exit code {code}):\n{tail}", str(log), "is there enough memory? run it again"
    )
