"""The finetuning job on several nodes: the local launcher's contract, kept by a TrainJob."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from reft.cluster.client import ClusterClient
from reft.cluster.run import ClusterRun
from reft.cluster.staging import name_the_base, on_shared_storage
from reft.cluster.trainjob import trainjob
from reft.config import ClusterSettings, FinetuningSettings
from reft.errors import ConfigurationError, explain
from reft.finetuning.artifact import epochs_in
from reft.finetuning.job import FINISHED, FinetuneJob
from reft.finetuning.launch import check_time, run_finetune
from reft.finetuning.monitoring import (
    MetricsFollower,
    Report,
    failing_rank,
    prepare_folder,
    rank_errors,
    was_stopped,
)
from reft.finetuning.student import RunJob


def launcher(settings: FinetuningSettings, cluster: ClusterSettings) -> RunJob:
    """Where a training's processes run, as the settings say."""
    return run_finetune if settings.launcher == "local" else partial(run_on_cluster, settings=cluster)


def run_on_cluster(
    job: FinetuneJob,
    folder: Path,
    report: Report | None = None,
    *,
    settings: ClusterSettings | None = None,
    client: ClusterClient | None = None,
) -> Path:
    """Train on the cluster's nodes and return the folder of the result, as `run_finetune` does on this machine.

    Args:
        folder: a working folder under `settings.work_mount`, where this process and all nodes have the same volume;
            its name names the TrainJob, so that a step which starts again finds the one that still runs.

    Raises:
        TrainingError: a rank failed (with its own traceback), the time limit passed, or nodes were preempted too often.
        ClusterError: the nodes could not be had, or Kubernetes refused something.
        ConfigurationError: the folder is not on the shared volume.
    """
    settings = settings or ClusterSettings()
    folder, mount = folder.resolve(), Path(settings.work_mount).resolve()
    if not folder.is_relative_to(mount):
        what = f"the nodes would not find the working folder: it is not on the volume at {mount}"
        raise ConfigurationError(explain(what, str(folder), "set finetuning.work_folder to a folder under it"))
    client = client or ClusterClient(settings.namespace)
    folder.mkdir(parents=True, exist_ok=True)
    finetuning = _Finetuning(job, folder, report, settings=settings)
    manifest = trainjob(f"reft-{folder.name}", ["reft.finetuning.worker", str(folder)], folder, settings=settings)
    ClusterRun(client, manifest, settings, work=finetuning, log=folder / "log.txt").run()
    for result in (folder / "output", *epochs_in(folder).values()):
        name_the_base(result, job)
    return folder / "output"


class _Finetuning:
    """The training as it shows in its folder."""

    def __init__(self, job: FinetuneJob, folder: Path, report: Report | None, *, settings: ClusterSettings) -> None:
        ranks = job.settings.model_copy(update={"processes": settings.processes})
        self._job, self._folder, self._mount = replace(job, settings=ranks), folder, Path(settings.work_mount)
        self._metrics = MetricsFollower(folder / "metrics.jsonl", report)
        self._ran = self._idle = 0.0
        self._looked = time.monotonic()

    def prepare(self) -> None:
        """Write the job where the ranks read it."""
        on_shared_storage(self._job, self._folder, self._mount).save(self._folder)
        prepare_folder(self._folder)
        self._metrics.start_over()

    def look(self, running: bool) -> None:
        """Report new steps; end a training that hangs or takes too long, as on one machine."""
        now = time.monotonic()
        passed, self._looked = (now - self._looked if running else 0.0), now
        self._ran += passed
        self._idle = 0.0 if self._metrics.forward() or not running else self._idle + passed
        check_time(self._job.settings, self._folder, self._ran, idle=self._idle)

    def is_done(self) -> bool:
        """Whether rank 0 has left a whole result."""
        return (self._folder / FINISHED).exists()

    def was_stopped(self) -> bool:
        """Whether the ranks saved and went."""
        return was_stopped(rank_errors(self._folder))

    def failure(self) -> str | None:
        """The failing rank's own words."""
        if not (errors := rank_errors(self._folder)):
            return None
        rank, words = failing_rank(errors)
        return f"finetuning failed on rank {rank}:\n{words}"

    @property
    def smaller(self) -> str:
        """Fewer rows at once."""
        return "raise cluster.memory, or lower finetuning.micro_batch_size"
