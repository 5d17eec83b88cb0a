"""The process that runs one job: started by the dispatcher, in a session of its own, and gone when the job rests.

SIGTERM lets go of the job: the processes here end, a run on a cluster goes on, and the next worker attaches to it.

It holds nothing that a kill could lose. Started again it does the same work: what a run has finished is in the
pipeline's cache, a training goes on from its checkpoint, and whatever was said or kept is neither said nor kept again.
"""

import logging
import shutil
import signal
import sys
import time
from pathlib import Path

from sqlmodel import col, select

from reft.errors import ReftError
from reft.filtering.screening import Screening, read_screening
from reft.service.beside import service_of
from reft.service.clock import now
from reft.service.database import AWAY
from reft.service.jobs import leases, states, tries, waiting
from reft.service.jobs.child import POLITE, Pipeline, end_job, stop_elsewhere
from reft.service.jobs.events import say
from reft.service.jobs.folders import folder_of
from reft.service.jobs.following import Follower, say_screening
from reft.service.jobs.forgetting import is_spared
from reft.service.jobs.held import HeldJob, LostJob, lease_of
from reft.service.jobs.holders import this_process
from reft.service.jobs.lifecycle import error_of, finish, give_up, rest
from reft.service.jobs.outcome import fail_as_harmful, publish
from reft.service.jobs.profile import effective, job_settings, named_as, write_profile
from reft.service.jobs.results import keep_decisions
from reft.service.jobs.shown import PASSES
from reft.service.jobs.words import failure_of, is_unexplained, was_killed
from reft.service.service import Service
from reft.service.tables import Organization, StoredFile

LOG = logging.getLogger(__name__)
LOOK = 0.3  # seconds between looks at the run


class Interrupted(Exception):
    """The job's owner wants it to rest, or to end; `args` holds what is wanted (`Job.wanted`), where it is that."""


class Again(Exception):
    """A run was killed, or failed by no fault that it could explain; `args` holds as what that counts."""


class Worker:
    """Runs one job as far as it goes now: to its end, to a pause, or to where people must decide."""

    def __init__(self, held: HeldJob) -> None:
        self.held, self.service = held, held.service
        self.folder = folder_of(self.service.settings, held.id)

    def run(self) -> None:
        """Do it; whatever goes wrong here is said and tried again by the next worker, a few times."""
        try:
            end_job(self.held.id)  # what an earlier worker has left running
            if self._begin():
                self._work()
        except Interrupted:
            self._rest()
        except LostJob:
            LOG.warning("%s: it is another worker's now, or the next one's", self.held.id)
            return
        except AWAY:  # no fault of the job's: the next worker goes on
            LOG.exception("%s: the database went away", self.held.id)
            return
        except Again as ended:
            LOG.warning("%s: its run has ended before its time (%s); tried again", self.held.id, *ended.args)
            self._put_off(*ended.args)
        except OSError:  # nor this: files or a disk are away, or full; what is finished is kept until they are back
            LOG.exception("%s: files cannot be read or written; tried again", self.held.id)
            self._put_off(tries.OUTAGES)
        except Exception:
            LOG.exception("%s", self.held.id)
            self._put_off(tries.FAULTS)
        # What could not be stopped keeps its folder, by which the dispatcher tries again.
        job = self.held.look()
        if job.status in states.FINISHED and self._end() and not is_spared(job, self.folder):
            shutil.rmtree(self.folder.root, ignore_errors=True)

    def _begin(self) -> bool:
        with self.held.changing() as (session, job):
            if job.status in states.FINISHED or job.wanted != states.RUN:
                return job.wanted != states.RUN and self._interrupt()
            job.status, job.stage = states.RUNNING, states.SCREENING
            job.started_at, job.attempts = job.started_at or now(), job.attempts + 1
            job.hyperparameters = effective(self.service.run_settings, job.hyperparameters)
            say(session, job, "Fine-tuning job started", mark="started")
            say(session, job, "Screening of the training file has started", mark="screening")
        return True

    def _interrupt(self) -> bool:
        raise Interrupted

    def _work(self) -> None:
        """The runs that are left to do."""
        job = self.held.look()
        waits = self.service.settings.review == "wait"
        if waits and not job.work.get(waiting.REVIEWED):
            found = read_screening(self.folder.screening(reviewed=False)) or self._run(screen_only=True)
            if found is None or self._asks(found):
                return
        if self.folder.is_whole or self._run(screen_only=False) is not None:
            if found := read_screening(self._screening()):
                self._screened(found)
            publish(self.held, self.folder)

    def _asks(self, found: Screening) -> bool:
        """Whether people must decide now."""
        if not self._screened(found):
            return True
        with self.held.changing() as (session, job):
            return waiting.ask(session, job, found)

    def _screening(self) -> Path:
        return self.folder.screening(reviewed=bool(self.held.look().work.get(waiting.REVIEWED)))

    def _run(self, *, screen_only: bool) -> Screening | None:
        """One run of the pipeline, watched; None where it ended the job, or ended without a result.

        Raises:
            Again: it may come to its end another time.
        """
        profile, place = self._prepare(screen_only=screen_only), self._screening()
        with self.held.changing():  # a worker that was away for long may have lost the job
            child = Pipeline(self.service.settings, self.held.id, profile, log=self.folder.log)
        try:
            status = self._watch(child, None if screen_only else place)
        except LostJob:
            child.let_go()  # whoever has it now may be on another machine
            raise
        except Interrupted as asked:
            # A cancelled job's processes go at once; a paused one's training saves its state first.
            pauses = asked.args == (states.PAUSE,)
            if pauses:
                child.ask_to_end()
            child.end(after=POLITE if pauses else 0.0)
            raise
        except BaseException:
            child.end()
            raise
        child.end()
        said, found = child.said(), read_screening(place)
        if status == 0 and found is not None:
            return found
        if status and was_killed(status, said):
            raise Again(tries.KILLS)
        if status and is_unexplained(said):
            raise Again(tries.FAULTS)
        self._fail(said, found)
        return None

    def _watch(self, child: Pipeline, screening: Path | None) -> int:
        """Follow a run to its end; its exit status.

        Raises:
            Interrupted: its owner wants it to rest or to end, or the file is mostly harm.
        """
        follower = Follower(self.held, self.folder)
        while (status := child.status()) is None:
            if self.held.lost.is_set():
                raise LostJob(self.held.id)
            if (wanted := self.held.look().wanted) != states.RUN:
                raise Interrupted(wanted)
            follower.look(child.said())
            if screening and (found := read_screening(screening)):
                if not self._screened(found):
                    raise Interrupted
                screening = None
            time.sleep(LOOK)
        follower.look(child.said())
        return status

    def _screened(self, found: Screening) -> bool:
        """Say what the filter decided; whether the job goes on."""
        reviewed = bool(self.held.look().work.get(waiting.REVIEWED))
        with self.held.changing() as (session, job):
            say_screening(session, job, found, reviewed=reviewed)
            # Beside the hyperparameters: what is run again is told by these, and its results are found again.
            job.work = {**job.work, PASSES: self.service.run_settings.finetuning.passes(found.scored)}
        waits = self.service.settings.review == "wait" and not reviewed
        harmful = found.counts.get("drop", 0) > self.service.settings.most_harmful * found.scored
        if harmful or not waits or not found.counts.get("quarantine"):
            keep_decisions(self.held, found)  # of a job that waits only once people have decided
        if harmful:
            fail_as_harmful(self.held, found)
        return not harmful

    def _fail(self, said: str, found: Screening | None) -> None:
        if found is not None and not self._screened(found):
            return
        if found is not None and not found.counts.get("keep"):
            message = f"No row is left to train on: {found.counts.get('quarantine', 0)} of {found.scored} rows are "
            message += f"quarantined and {found.counts.get('drop', 0)} dropped; the decision table says why."
            error = error_of("no_rows_left", message, "training_file")
        else:
            failure = failure_of(said, trained=found is not None)
            param = "training_file" if failure.code == "invalid_training_file" else None
            error = error_of(failure.code, failure.message, param)
        with self.held.changing() as (session, job):
            finish(session, job, states.FAILED, error=error)

    def _prepare(self, *, screen_only: bool) -> Path:
        """The job's files on this machine, and the run configuration that names them."""
        self.folder.root.mkdir(parents=True, exist_ok=True)
        job, service = self.held.look(), self.service
        with service.database.reading() as session:
            owner = session.get_one(Organization, job.organization_id)
            names = {"user": (job.training_file, self.folder.rows)}
            if job.validation_file:
                names["task_test"] = (job.validation_file, self.folder.validation)
            stored = {
                use: (session.exec(select(StoredFile).where(col(StoredFile.id) == name)).one(), path)
                for use, (name, path) in names.items()
            }
            files = {use: named_as(file, path) for use, (file, path) in stored.items()}
            if job.work.get(waiting.REVIEWED):
                waiting.write_overrides(session, job.id, self.folder.overrides)
                files["overrides"] = self.folder.overrides
        for use, (file, _) in stored.items():
            if not files[use].is_file():
                partial = files[use].with_name("coming")
                service.blobs.fetch(file.blob, partial).replace(files[use])
        settings = job_settings(service, job, owner, folder=self.folder, files=files, screen_only=screen_only)
        return write_profile(service, self.folder.profile, settings, job_id=job.id)

    def _rest(self) -> None:
        """As its owner wanted."""
        self._end()
        with self.held.changing() as (session, job):
            rest(session, job)

    def _end(self) -> bool:
        """Nothing works on the job any more, here or on a cluster; whether that is sure."""
        end_job(self.held.id)
        return stop_elsewhere(self.service.settings, self.folder.profile)

    def _put_off(self, why: tries.Why) -> None:
        """Leave it to a later worker, or give it up."""
        end_job(self.held.id)
        with self.held.changing() as (session, job):
            if not tries.put_off(session, job, why):
                give_up(session, job)


def hold(service: Service, job_id: str, kept_for_me: str) -> HeldJob | None:
    """Take over what the dispatcher has taken for this process; None where somebody else has it by now."""
    holder, seconds = this_process(), service.settings.lease_seconds
    with service.database.writing() as session:
        if not leases.hand_over(session, lease_of(job_id), kept_for_me, to=holder, seconds=seconds):
            return None
    return HeldJob(service, job_id, holder)


def main() -> None:
    """SETTINGS JOB HOLDER, as the dispatcher starts it."""
    file, job_id, kept_for_me = sys.argv[1:]
    logging.basicConfig(level=logging.INFO)
    held = hold(service_of(Path(file)), job_id, kept_for_me)
    if held is None:
        return
    # Told to go, as with its machine: another one takes the job up where its run or its checkpoint is.
    signal.signal(signal.SIGTERM, lambda *_: held.lost.set())
    try:
        with held.alive():
            Worker(held).run()
    except (LostJob, ReftError):
        LOG.exception("%s", job_id)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
