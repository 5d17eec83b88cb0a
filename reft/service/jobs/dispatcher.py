"""Hands out jobs: one dispatcher at a time, beside one of the servers, starts a worker for each job that shall run.

Workers outlive it. What it needs to know stands in the database: a job whose worker has gone (its lease says so) is
given to another one.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from sqlmodel import Session, col, select

from reft.runtime.flags import Flag
from reft.runtime.processes import LAUNCHER, end_with_launcher
from reft.service.beside import keep_looking, service_of
from reft.service.clock import now
from reft.service.database import AWAY
from reft.service.jobs import leases, states, tries
from reft.service.jobs.child import end_job, stop_elsewhere
from reft.service.jobs.folders import all_folders, folder_of, logs
from reft.service.jobs.forgetting import Forgetting, is_spared
from reft.service.jobs.held import lease_of
from reft.service.jobs.holders import coming, has_gone, take_over, this_process
from reft.service.jobs.lifecycle import give_up, rest
from reft.service.jobs.turns import in_turn, last_turns, note_turn
from reft.service.jobs.waiting import waits
from reft.service.retention import sweep
from reft.service.service import Service
from reft.service.tables import Job

LOG = logging.getLogger(__name__)
LEADER = "leader"
WORKER = "reft.service.jobs.worker"
LET_GO = 10.0  # seconds in which workers that are told to let go of their jobs must have done so
LEADS = 10.0  # seconds after which a dispatcher that says nothing leads no more
PAUSE = 0.3  # seconds between looks at the database
COMING = 60.0  # seconds in which a worker must have begun
TIDY = 2.0  # seconds between looks at what is left of jobs: each looks at all processes of this machine
SWEEP = 600.0


class Dispatcher:
    """One of the processes that could hand out work."""

    def __init__(self, service: Service, file: Path) -> None:
        self.service, self.file = service, file
        self.holder = this_process()
        self.workers: list[subprocess.Popen[bytes]] = []
        self.forgetting = Forgetting(service)
        self._swept = self._tidied = 0.0
        self._stopped: set[str] = set()  # jobs whose runs elsewhere this process has stopped

    def run(self, stop: Flag) -> None:
        """Hand out whatever comes, until told to stop."""
        keep_looking(self._look, stop, pause=PAUSE)
        self.leave()

    def leave(self) -> None:
        """Hand back, at once, what another machine shall take over: the lead, and jobs whose runs go on elsewhere.

        Workers whose trainings are processes of this machine stay with them.
        """
        with suppress(*AWAY), self.service.database.writing() as session:
            leases.release(session, LEADER, self.holder)
        if not self.service.settings.stop:
            return
        there = workers_of(self.file)
        for worker in there:
            with suppress(psutil.Error):
                worker.terminate()
        psutil.wait_procs(there, timeout=LET_GO)

    def _look(self) -> bool:
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        if leads := self._leads():
            self.once()
            self.forgetting.look()
        if time.monotonic() - self._tidied > TIDY:
            self._tidy(leads=leads)
            self._tidied = time.monotonic()
        return False

    def once(self) -> None:
        """Start workers for the jobs that shall run and that nobody runs, as many as may run at once."""
        with self.service.database.reading() as session:
            jobs = session.exec(_unfinished()).all()
            held = {job.id: leases.holder_of(session, lease_of(job.id)) for job in jobs}
        for job in jobs:
            holder = held[job.id]
            if holder and has_gone(holder):  # sooner than its lease runs out
                with self.service.database.writing() as session:
                    leases.release(session, lease_of(job.id), holder)
                held[job.id] = None
        busy = [job.organization_id for job in jobs if held[job.id] is not None]
        waiting = [job for job in jobs if held[job.id] is None and self._rested(job)]
        free = self.service.settings.jobs_at_once - len(busy)
        if free <= 0 or not waiting:
            return
        with self.service.database.reading() as session:
            turns = last_turns(session, [job.organization_id for job in waiting])
        for job in in_turn(waiting, busy, turns):
            free -= self._start(job.id)
            if free <= 0:
                return

    def _leads(self) -> bool:
        with self.service.database.writing() as session:
            return take_over(session, LEADER, self.holder, seconds=LEADS) is not None

    def _rested(self, job: Job) -> bool:
        """Whether a job that nobody works on shall be worked on; one that shall pause is marked so."""
        if job.wanted == states.PAUSE and job.stage != states.PAUSED:
            with self.service.database.writing() as session:
                rest(session, _named(session, job.id))
        if job.wanted != states.RUN:
            return False
        return not waits(job) and not tries.is_put_off(job)

    def _start(self, job_id: str) -> int:
        """Start a worker that outlives this process; how many were started."""
        kept_for_it = coming()
        with self.service.database.writing() as session:
            if not leases.take(session, lease_of(job_id), kept_for_it, seconds=COMING):
                return 0
            job = _named(session, job_id)
            note_turn(job)
            if not tries.may_start(session, job):
                LOG.error("%s: %s workers in a row have ended without a word", job_id, tries.MOST[tries.STARTS])
                give_up(session, job)
                leases.release(session, lease_of(job_id), kept_for_it)
                return 0
        try:
            self._launch(job_id, kept_for_it)
        except OSError:  # a full disk, no more processes: no fault of the job's
            LOG.exception("%s: no worker can be started; tried again", job_id)
            with self.service.database.writing() as session:
                job = _named(session, job_id)
                if not tries.put_off(session, job, tries.OUTAGES):
                    give_up(session, job)
                leases.release(session, lease_of(job_id), kept_for_it)
            return 0
        return 1

    def _launch(self, job_id: str, kept_for_it: str) -> None:
        log = logs(self.service.settings) / "workers.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name != LAUNCHER}
        command = [sys.executable, "-m", WORKER, str(self.file), job_id, kept_for_it]
        with log.open("ab") as output:
            worker = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self.workers.append(worker)

    def _tidy(self, *, leads: bool = False) -> None:
        """End what is left of jobs that have ended or rest, and that no worker holds.

        Every dispatcher does so for its machine; the one that leads stops what goes on elsewhere, too.
        """
        root = all_folders(self.service.settings)
        for folder in root.iterdir() if root.is_dir() else ():
            self._end_orphans(folder.name)
            with self.service.database.reading() as session:
                job = session.exec(select(Job).where(col(Job.id) == folder.name)).first()
                busy = leases.is_held(session, lease_of(folder.name))
            if busy or (job is not None and job.status not in states.FINISHED and job.wanted == states.RUN):
                self._stopped.discard(folder.name)
                continue
            end_job(folder.name)
            if not self._is_stopped(folder.name, leads=leads):
                continue
            ended = job is not None and job.status in states.FINISHED
            if job is None or (ended and not is_spared(job, folder_of(self.service.settings, job.id))):
                shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() - self._swept > SWEEP:
            sweep(self.service, now())
            self._swept = time.monotonic()

    def _end_orphans(self, job_id: str) -> None:
        """End a pipeline whose worker on this machine has gone: the next worker may be on another one, beside it."""
        lease = lease_of(job_id)
        with self.service.database.reading() as session:
            holder = leases.holder_of(session, lease)
        if holder is None or not has_gone(holder):
            return
        with self.service.database.writing() as session:  # held for that time, lest somebody starts it anew
            leases.release(session, lease, holder)
            mine = leases.take(session, lease, self.holder, seconds=COMING)
        if mine:
            end_job(job_id)
            with self.service.database.writing() as session:
                leases.release(session, lease, self.holder)

    def _is_stopped(self, job_id: str, *, leads: bool) -> bool:
        """Whether a job that nobody works on has no run elsewhere, either."""
        settings = self.service.settings
        if not settings.stop or job_id in self._stopped:
            return True
        if not leads or not stop_elsewhere(settings, folder_of(settings, job_id).profile):
            return False
        self._stopped.add(job_id)
        return True


def workers_of(file: Path) -> list[psutil.Process]:
    """The processes of this machine that run jobs for the server with these settings."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if WORKER in words and str(file) in words:
                found.append(process)
    return found


def _named(session: Session, job_id: str) -> Job:
    return session.exec(select(Job).where(col(Job.id) == job_id)).one()


def _unfinished():
    here = col(Job.status).in_((states.QUEUED, states.RUNNING))
    return select(Job).where(here).order_by(col(Job.seq))


def running(session: Session) -> list[Job]:
    """The jobs that a worker holds now."""
    return [job for job in session.exec(_unfinished()).all() if leases.is_held(session, lease_of(job.id))]


def main() -> None:
    """The process that `reft serve` starts beside the HTTP processes."""
    end_with_launcher()
    logging.basicConfig(level=logging.INFO)
    file, stop = Path(sys.argv[1]), Flag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Dispatcher(service_of(file), file).run(stop)


if __name__ == "__main__":
    main()
