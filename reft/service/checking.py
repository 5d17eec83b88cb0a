"""Files for finetuning are checked as `reft validate` does, in a process beside the server's.

What waits is what the database calls `uploaded`: a kill loses nothing, and whoever comes next goes on.
"""

import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import literal
from sqlmodel import Session, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from reft.errors import DataFormatError, DataValidationError, ReftError, parts
from reft.runtime.flags import Flag
from reft.runtime.processes import end_with_launcher
from reft.runtime.without_torch import without_torch
from reft.service.beside import keep_looking, service_of
from reft.service.database import AWAY
from reft.service.files import SUFFIX_OF_ROWS, delete_expired
from reft.service.jobs import leases, states
from reft.service.jobs.holders import take_over, this_process
from reft.service.jobs.lifecycle import settle_files
from reft.service.jobs.tries import MOST, OUTAGES, pause_before
from reft.service.service import Service
from reft.service.tables import Job, StoredFile
from reft.storage.artifacts import scratch

with without_torch():  # this process loads no model
    from reft.conversations.formats import column_names
    from reft.models.default_model import resolve_model
    from reft.models.tokenizers import load_tokenizer
    from reft.validation.file import FileReport, validate_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOG = logging.getLogger(__name__)
PAUSE = 0.25  # seconds between looks at the database
SWEEP = 60.0
LEASE = 120.0  # seconds after which a file that nobody finished is taken by the next one
LONGEST = 3000  # characters of `status_details`
FILE = "file:"  # leases of files
MOST_TAKEN = 5  # checks of one file that broke off without a word, before it is taken for what broke them off


class Verdict(NamedTuple):
    """What a file's row says once it is checked."""

    status: str
    details: str | None
    usable: int = 0


UNCHECKED = Verdict("error", "The file could not be checked; ask the operator.")
BREAKS_OFF = Verdict("error", "The file could not be checked: each check broke off. Send it in smaller parts.")


class Checker:
    """Checks files, one after the other; the tokenizer is read once."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.holder = this_process()
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._failed: Counter[str] = Counter()  # checks of a file that failed by no fault of its own
        self._swept = 0.0

    def run(self, stop: Flag) -> None:
        """Check whatever comes, until told to stop."""
        keep_looking(self._look, stop, pause=PAUSE)

    def _look(self) -> bool:
        if time.monotonic() - self._swept > SWEEP:
            delete_expired(self.service)
            self._swept = time.monotonic()
        return self.check_one()

    def check_one(self) -> bool:
        """Check the oldest file that waits; whether there was one."""
        with self.service.database.reading() as session:  # most looks find nothing: no lock for them
            waiting = session.exec(_waiting(session).limit(50)).all()
        for file in waiting:
            with self.service.database.writing() as session:
                taken = take_over(session, lease_of(file.id), self.holder, seconds=LEASE)
            if taken:
                self._check(file, taken)
                return True
        return False

    def _check(self, file: StoredFile, taken: int) -> None:
        """Check a file that so many have taken, this one included."""
        if taken > MOST_TAKEN:
            LOG.error("%s: given up, since %s checks of it broke off", file.id, taken - 1)
            self._note(file.id, BREAKS_OFF)
            return
        try:
            with self._held(file.id):
                verdict = self._verdict(file)
        except SystemExit:  # told to go, as its server is: that is not about the file either
            with self.service.database.writing() as session:
                leases.put_off(session, lease_of(file.id), self.holder, seconds=0, anew=True)
            raise
        except Exception as error:
            LOG.exception("%s could not be checked; tried again", file.id)
            self._put_off(file.id, error)
            return
        self._note(file.id, verdict)

    def _verdict(self, file: StoredFile) -> Verdict:
        """What is said of a file.

        Raises:
            Exception: something failed that is not about the file: where it is kept, the model, a disk of this machine.
        """
        run, tokenizer = self.service.run_settings, self._tokenizer_of_model()
        with scratch("upload") as folder:
            kinds = SUFFIX_OF_ROWS.search(file.filename)
            local = self.service.blobs.fetch(file.blob, folder / f"file{kinds[0] if kinds else '.jsonl'}")
            try:
                report = validate_file(
                    local,
                    folder / "checked",
                    tokenizer,
                    settings=run.validation,
                    max_length=run.model.max_length,
                    columns=column_names(run.data.columns or ""),
                )
            except (DataFormatError, DataValidationError) as error:
                what, _, remedy = parts(error)  # where: a path of this machine, which is nobody's business
                return Verdict("error", _short(f"{what}; remedy: {remedy}" if remedy else what))
            except (ReftError, OSError):
                raise
            except Exception:  # whatever a hostile file brings down, the next one is checked
                LOG.exception("%s could not be checked", file.id)
                return UNCHECKED
        status = "error" if report.fails else "processed"
        return Verdict(status, _details(report, run.validation.min_rows), report.usable)

    def _tokenizer_of_model(self) -> "PreTrainedTokenizerBase":
        if self._tokenizer is None:
            model = self.service.run_settings.model
            with without_torch():
                self._tokenizer = load_tokenizer(
                    resolve_model(model.name), model.chat_template, model.trust_remote_code
                )
        return self._tokenizer

    @contextmanager
    def _held(self, file_id: str) -> Generator[None]:
        """Hold a file until the block ends: however long its check takes, nobody else begins one."""
        over = Flag()

        def renew() -> None:
            while not over.wait(LEASE / 4):
                with suppress(*AWAY), self.service.database.writing() as session:
                    leases.take(session, lease_of(file_id), self.holder, seconds=LEASE)

        beat = Thread(target=renew, daemon=True)
        beat.start()
        try:
            yield
        finally:
            over.set()
            beat.join()

    def _put_off(self, file_id: str, error: Exception) -> None:
        """Try a file again, later each time; a day of that is enough."""
        self._failed[file_id] += 1
        times = self._failed[file_id]
        if times >= MOST[OUTAGES]:
            self._note(file_id, UNCHECKED)
            return
        # A process of the check that was killed is as this one killed: what else fails has nothing to do with the file.
        killed = isinstance(error.__cause__, BrokenProcessPool)
        with self.service.database.writing() as session:
            leases.put_off(session, lease_of(file_id), self.holder, seconds=pause_before(times), anew=not killed)

    def _note(self, file_id: str, verdict: Verdict) -> None:
        """The verdict, and what it means for the jobs that wait for it: all at once."""
        with self.service.database.writing() as session:
            file = session.exec(select(StoredFile).where(col(StoredFile.id) == file_id)).one()
            if file.status == "uploaded" and file.deleted_at is None:
                file.status, file.status_details, file.usable_rows = verdict
                session.add(file)
                session.flush()
            uses = or_(col(Job.training_file) == file_id, col(Job.validation_file) == file_id)
            for job in session.exec(select(Job).where(uses, col(Job.status) == states.VALIDATING)).all():
                settle_files(session, job)
            leases.release(session, lease_of(file_id), self.holder)
        self._failed.pop(file_id, None)


def lease_of(file_id: str) -> str:
    """What the lease of a file is called."""
    return f"{FILE}{file_id}"


def _waiting(session: Session) -> SelectOfScalar[StoredFile]:
    """Files to be checked, the oldest first; those that are put off keep nobody waiting."""
    here = (col(StoredFile.status) == "uploaded", col(StoredFile.deleted_at).is_(None))
    free = (literal(FILE) + col(StoredFile.id)).not_in(leases.are_put_off(session))
    return select(StoredFile).where(*here, free).order_by(col(StoredFile.seq))


def _details(report: FileReport, least: int) -> str | None:
    """What is wrong: the file as a whole, then row, field and remedy of the first rows."""
    said = [report.fails] if report.fails else []
    said += [f"row {bad['row']}: {bad['rule']} at {bad['field']}; remedy: {bad['remedy']}" for bad in report.first]
    if not report.fails and report.quarantined:
        said.insert(0, f"{report.quarantined} of {report.rows} rows cannot be used and are left out")
    if report.usable < least:
        said.append(f"{report.usable} usable rows, too few to train on (at least {least})")
    return _short("\n".join(said)) if said else None


def _short(text: str) -> str:
    clean = "".join(c if c == "\n" or c.isprintable() else " " for c in text)
    return clean if len(clean) <= LONGEST else f"{clean[:LONGEST]} ..."


def main() -> None:
    """The process that `reft serve` starts: settings come as JSON, and it ends with whoever started it."""
    end_with_launcher()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    Checker(service_of(Path(sys.argv[1]))).run(Flag())


if __name__ == "__main__":
    main()
