"""Files for finetuning are checked as `reft validate` does, in a process beside the server's.

What waits is what the database calls `uploaded`: a kill loses nothing, and whoever comes next goes on.
"""

import logging
import sys
import time
from pathlib import Path
from threading import Event as Flag

from sqlmodel import Session, col, or_, select

from reft.errors import ReftError, parts
from reft.runtime.processes import end_with_launcher
from reft.runtime.without_torch import without_torch
from reft.service.beside import keep_looking, service_of
from reft.service.files import SUFFIX_OF_ROWS, delete_expired
from reft.service.jobs import leases, states
from reft.service.jobs.holders import take_over, this_process
from reft.service.jobs.lifecycle import settle_files
from reft.service.service import Service
from reft.service.tables import Job, StoredFile
from reft.storage.artifacts import scratch

with without_torch():  # this process loads no model
    from reft.conversations.formats import column_names
    from reft.models.default_model import resolve_model
    from reft.models.tokenizers import load_tokenizer
    from reft.validation.file import FileReport, validate_file

LOG = logging.getLogger(__name__)
PAUSE = 0.25  # seconds between looks at the database
SWEEP = 60.0
LEASE = 120.0  # seconds after which a file that nobody finished is taken by the next one
LONGEST = 3000  # characters of `status_details`


class Checker:
    """Checks files, one after the other; the tokenizer is read once."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.holder = this_process()
        self._tokenizer = None
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
            waiting = session.exec(_waiting().limit(50)).all()
        for file in waiting:
            with self.service.database.writing() as session:
                taken = take_over(session, f"file:{file.id}", self.holder, seconds=LEASE)
            if taken:
                status, details, rows = self._verdict(file)
                with self.service.database.writing() as session:
                    self._note(session, file.id, status, details=details, rows=rows)
                return True
        return False

    def _verdict(self, file: StoredFile) -> tuple[str, str | None, int]:
        """Status, details and usable rows."""
        run = self.service.run_settings
        try:
            if self._tokenizer is None:
                model = run.model
                with without_torch():
                    self._tokenizer = load_tokenizer(
                        resolve_model(model.name), model.chat_template, model.trust_remote_code
                    )
            with scratch("upload") as folder:
                kinds = SUFFIX_OF_ROWS.search(file.filename)
                local = self.service.blobs.fetch(file.blob, folder / f"file{kinds[0] if kinds else '.jsonl'}")
                report = validate_file(
                    local,
                    folder / "checked",
                    self._tokenizer,
                    settings=run.validation,
                    max_length=run.model.max_length,
                    columns=column_names(run.data.columns or ""),
                )
        except ReftError as error:
            what, _, remedy = parts(error)  # where: a path of this machine, which is nobody's business
            return "error", _short(f"{what}; remedy: {remedy}" if remedy else what), 0
        except Exception:  # whatever a hostile file brings down, the next one is checked
            LOG.exception("%s could not be checked", file.id)
            return "error", "The file could not be checked; ask the operator.", 0
        return "error" if report.fails else "processed", _details(report, run.validation.min_rows), report.usable

    def _note(self, session: Session, file_id: str, status: str, *, details: str | None, rows: int) -> None:
        """The verdict, and what it means for the jobs that wait for it: all at once."""
        file = session.exec(select(StoredFile).where(col(StoredFile.id) == file_id)).one()
        if file.status == "uploaded" and file.deleted_at is None:
            file.status, file.status_details, file.usable_rows = status, details, rows
            session.add(file)
            session.flush()
        uses = or_(col(Job.training_file) == file_id, col(Job.validation_file) == file_id)
        for job in session.exec(select(Job).where(uses, col(Job.status) == states.VALIDATING)).all():
            settle_files(session, job)
        leases.release(session, f"file:{file_id}", self.holder)


def _waiting():
    here = (col(StoredFile.status) == "uploaded", col(StoredFile.deleted_at).is_(None))
    return select(StoredFile).where(*here).order_by(col(StoredFile.seq))


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
    Checker(service_of(Path(sys.argv[1]))).run(Flag())


if __name__ == "__main__":
    main()
