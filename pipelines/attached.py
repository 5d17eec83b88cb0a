"""Runs that outlive their command: `python -m pipelines.attached --config FILE`, for a service's jobs on a cluster.

It starts the pipeline as `zenml pipeline run` does, unless a run of this job is there that has not ended: then it waits
for that one. So whoever starts the same command again, on this machine or on another one, goes on where the first was.
SIGTERM stops the run, kill -9 leaves it. The last words and the exit status are those of the run, for
`reft.service.jobs.words`; 143: it was stopped, or its end could not be learnt.

A run is its job's by its name: the folder and name of FILE, a digest of FILE's path, one of its content, and a number.
ZenML takes each name once, so that of two commands that start at once one starts, and the other attaches.
"""

import argparse
import hashlib
import importlib
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.exceptions import EntityExistsError, IllegalOperationError
from zenml.models import PipelineRunResponse
from zenml.pipelines.pipeline_definition import Pipeline
from zenml.utils import run_utils, source_utils

from pipelines.watched import give_up, is_lost, last_words, refresh, say_steps

LOOK = 2.0  # seconds between looks at a run
REFRESH = 30.0  # seconds between questions to the cluster whether the run's own pod is there
COMING = 300.0  # seconds in which a cluster must know of a run that somebody submits
PATIENCE = 900.0  # seconds for which ZenML's server may be away, and in which a run must have stopped
STOPPED = 128 + signal.SIGTERM
STOPS = (ExecutionStatus.STOPPING, ExecutionStatus.CANCELLING)
ENDED = (ExecutionStatus.STOPPED, ExecutionStatus.CANCELLED)


@dataclass(frozen=True)
class Job:
    """What a run configuration is to its runs: `name` tells the job, `settings` what it is run with."""

    file: Path
    name: str
    settings: str

    @classmethod
    def of(cls, file: Path) -> "Job":
        """The job of a run configuration."""
        path = file.resolve()
        place = hashlib.sha256(str(path).encode()).hexdigest()[:8]
        settings = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        return cls(path, f"{path.parent.name[:80]}-{path.stem[:40]}-{place}", settings)

    @property
    def prefix(self) -> str:
        """What the names of its runs begin with, under these settings."""
        return f"{self.name}-{self.settings}-"

    def runs(self) -> list[PipelineRunResponse]:
        """All its runs, under whatever settings, the newest first."""
        client = Client()
        found = client.list_pipeline_runs(name=f"startswith:{self.name}-", user=client.active_user.id, size=100)
        return [run for run in found.items if run.name.startswith(f"{self.name}-")]

    def next_name(self) -> str:
        """A name that none of them has."""
        numbers = [run.name.rpartition("-")[2] for run in self.runs() if run.name.startswith(self.prefix)]
        return f"{self.prefix}{1 + max((int(n) for n in numbers if n.isdigit()), default=0)}"


@dataclass
class Here:
    """Runs of a stack of this machine live in the process that started them: it holds a lock, and leaves its number."""

    job: Job
    lock: FileLock = field(init=False)

    def __post_init__(self) -> None:
        self.lock = FileLock(f"{self.job.file}.lock")
        self._holder = Path(f"{self.job.file}.pid")

    def take(self) -> bool:
        """Whether this process may start a run: no other one has one."""
        with suppress(Timeout):
            self.lock.acquire(blocking=False)
            self._holder.write_text(str(os.getpid()))
            return True
        return False

    def is_alive(self) -> bool:
        """Whether another process has one."""
        with suppress(Timeout):
            self.lock.acquire(blocking=False)
            self.lock.release()
            return False
        return True

    def stop(self) -> None:
        """Tell that process to stop it."""
        with suppress(OSError, ValueError):
            if self.is_alive():
                os.kill(int(self._holder.read_text()), signal.SIGTERM)


@dataclass
class Attached:
    """One start of the command."""

    job: Job
    pipeline: Pipeline | None = None
    asked: bool = False  # to stop the run

    def __post_init__(self) -> None:
        self.here = Here(self.job) if Client().active_stack.orchestrator.config.is_local else None

    def ask(self, *_: object) -> None:
        """SIGTERM's handler: the run is stopped at the next look."""
        self.asked = True

    def run(self) -> int:
        """Start or attach, to the end; the exit status."""
        while not self.asked:
            if self.here and self.here.take():
                return self._run_here()
            for run in self._unfinished(others=True):  # its settings have changed: it works in the same folders
                self._follow(run, stop=True)
            run = next(iter(self._unfinished()), None) or (self._coming() if self.here else self._submit())
            if run is not None and (ended := self._follow(run)) is not None:
                return self._end(ended)
        return STOPPED

    def stop_all(self) -> int:
        """Stop whatever runs of the job; 0 once nothing of it goes on."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for run in [run for run in self.job.runs() if not run.status.is_finished]:
            self._follow(run, stop=True)
        return 0

    def stop(self, run: PipelineRunResponse) -> None:
        """Ask for the end of a run; one that has no pod yet cannot be stopped, and is asked again."""
        if self.here:
            self.here.stop()
        elif run.status not in STOPS:
            # A forced stop deletes the steps' jobs; their pods have the grace period of theirs to save a checkpoint.
            with suppress(IllegalOperationError):
                run_utils.stop_run(run, graceful=False)

    def _unfinished(self, *, others: bool = False) -> list[PipelineRunResponse]:
        found = [run for run in self.job.runs() if not run.status.is_finished]
        return [run for run in found if run.name.startswith(self.job.prefix) != others]

    def _run_here(self) -> int:
        """A stack of this machine: the run is this process, which ends as `zenml pipeline run` does."""
        for run in [*self._unfinished(), *self._unfinished(others=True)]:  # its process has gone without a word
            give_up(run)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._start()
        return 0

    def _start(self) -> PipelineRunResponse | None:
        assert self.pipeline is not None
        configured = self.pipeline.with_options(config_path=str(self.job.file), run_name=self.job.next_name())
        return configured()

    def _submit(self) -> PipelineRunResponse | None:
        """A new run on the cluster; None where another process was quicker."""
        try:
            run = self._start()
        except EntityExistsError:
            return None
        if run is not None:
            print(f"started {run.name}", flush=True)
        return run

    def _coming(self) -> PipelineRunResponse | None:
        """The run that another process of this machine is about to start; None where it has gone."""
        assert self.here is not None
        while self.here.is_alive():
            if found := self._unfinished():
                return found[0]
            time.sleep(LOOK / 4)
        return None

    def _follow(self, run: PipelineRunResponse, *, stop: bool = False) -> PipelineRunResponse | None:
        """Wait for the end of a run and say which steps begin; None where nothing runs it any more."""
        print(f"waits for {run.name}", flush=True)
        begun: set[str] = set()
        since = answered = refreshed = time.monotonic()
        stopping = 0.0
        while True:
            try:
                run = Client().get_pipeline_run(run.id, hydrate=True)
                say_steps(run, begun)
                if run.status.is_finished:
                    return run
                if self.here and not self.here.is_alive():
                    return None
                if self.asked or stop:
                    self.stop(run)
                if time.monotonic() - refreshed > REFRESH:
                    refreshed = time.monotonic()
                    refresh(run)
                    if refreshed - since > COMING and is_lost(run):
                        give_up(run)
                        return None
                stopping = (stopping or time.monotonic()) if run.status in STOPS else 0.0
                if stopping and time.monotonic() - stopping > PATIENCE:
                    run = give_up(run)
                answered = time.monotonic()
            except Exception as error:  # a server that starts again ends no training
                print(f"ZenML does not answer: {error}", file=sys.stderr, flush=True)
                if time.monotonic() - answered > PATIENCE:
                    raise SystemExit(STOPPED) from error
            time.sleep(LOOK)

    def _end(self, run: PipelineRunResponse) -> int:
        if run.status.is_successful:
            return 0
        said = "error: the run was stopped" if run.status in ENDED else last_words(run)
        print(said, file=sys.stderr, flush=True)
        return STOPPED if self.asked else 1


def load(source: str) -> Pipeline:
    """A pipeline by its module, as `zenml pipeline run` finds it, or by module and name.

    Raises:
        SystemExit: there is none.
    """
    found = source_utils.load(source) if "." in source else importlib.import_module(source)
    if not isinstance(found, Pipeline):
        raise SystemExit(f"error: {source} is no pipeline")
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument(
        "--config", type=Path, required=True, help="run configuration; its folder and name are the job's"
    )
    parser.add_argument("--pipeline", default="reft_pipeline", help="module that is a pipeline, or MODULE.NAME")
    parser.add_argument("--stack", help="ZenML's stack; none: the active one")
    parser.add_argument("--stop", action="store_true", help="stop the job's run instead, wherever it goes on")
    options = parser.parse_args()
    client = Client()
    if options.stack and client.active_stack_model.name != options.stack:
        client.activate_stack(options.stack)
    if not client.root:
        source_utils.set_custom_source_root(os.getcwd())
    job = Job.of(options.config)
    if options.stop:
        raise SystemExit(Attached(job).stop_all())
    attached = Attached(job, load(options.pipeline))
    signal.signal(signal.SIGTERM, attached.ask)
    raise SystemExit(attached.run())


def command() -> None:
    """`main`; a ZenML server that cannot be reached is no end of the job: whoever started this starts it again."""
    try:
        main()
    except requests.exceptions.ConnectionError as error:
        print(f"ZenML does not answer: {error}", file=sys.stderr, flush=True)
        raise SystemExit(STOPPED) from error


if __name__ == "__main__":
    command()
