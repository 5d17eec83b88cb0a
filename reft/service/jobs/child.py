"""The pipeline of a job as a process of this machine, and all that it has started."""

import logging
import os
import subprocess
import time
import uuid
from pathlib import Path

from reft.errors import ConfigurationError, explain
from reft.runtime.processes import end_marked
from reft.service.settings import ServiceSettings

LOG = logging.getLogger(__name__)
# Carried by every process of a job: launchers and ranks have marks of their own, which name their makers.
MARK = "REFT_SERVICE_JOB"
START = "REFT_SERVICE_START"  # likewise, of what one worker has started
TAIL = 1 << 16  # bytes of its words that are looked at
STOPPING = 300.0  # seconds in which a command must have stopped a run on a cluster
POLITE = 300.0  # seconds in which a training that is told to go may finish its step and save


class Pipeline:
    """The command of the settings, running; its words go into a file of the operator's."""

    def __init__(self, settings: ServiceSettings, job_id: str, profile: Path, *, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.job_id, self.log, self.start = job_id, log, uuid.uuid4().hex
        self.place = log.stat().st_size if log.is_file() else 0
        command = [*settings.pipeline, "--config", str(profile)]
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    command, cwd=settings.pipeline_folder, env={**os.environ, MARK: job_id, START: self.start},
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            remedy = "name the command of the pipeline, and a clone of the repository as service.pipeline_folder"
            raise ConfigurationError(explain(f"cannot be started: {error}", command[0], remedy)) from error

    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        """Let a training finish its step and save; `end` comes after it."""
        if self._process.poll() is None:
            self._process.terminate()

    def end(self, *, after: float = 0.0) -> None:
        """End all processes of the job; they have so many seconds to end by themselves."""
        until = time.monotonic() + after
        while self._process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        end_job(self.job_id)
        self._process.wait()

    def let_go(self) -> None:
        """End its own processes and no others: the job is another worker's, who may have started some here."""
        end_marked(self.start, START)
        self._process.wait()

    def said(self) -> str:
        """What it has said since it was started, or the end of it."""
        with self.log.open("rb") as words:
            words.seek(max(self.place, self.log.stat().st_size - TAIL))
            return words.read().decode("utf-8", "replace")


def end_job(job_id: str) -> None:
    """End whatever still works on the job on this machine, whoever started it."""
    end_marked(job_id, MARK)


def stop_elsewhere(settings: ServiceSettings, profile: Path) -> bool:
    """Stop a job's run where it goes on without its pipeline's process, as on a cluster; whether that is sure."""
    if not settings.stop or not profile.is_file():  # without a profile no run was ever started
        return True
    command = [*settings.stop, "--config", str(profile)]
    try:
        done = subprocess.run(
            command, cwd=settings.pipeline_folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=STOPPING,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        LOG.exception("%s", profile)
        return False
    if done.returncode:
        LOG.warning("%s: the run was not stopped: %s", profile, done.stderr[-2000:].decode("utf-8", "replace"))
    return not done.returncode
