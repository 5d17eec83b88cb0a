"""Files whose check fails by no fault of theirs, and files that break their check off."""

import pytest
from sqlmodel import col, select

from reft.service import checking
from reft.service.checking import MOST_TAKEN, Checker, lease_of
from reft.service.files import FINE_TUNE, NewFile, keep_file
from reft.service.jobs import leases, states, tries
from reft.service.jobs.holders import take_over, this_process
from reft.service.service import open_service
from reft.service.tables import Job, Lease, StoredFile
from tests.service.serving import add_job, rows_file, settings_for


@pytest.fixture
def service(tiny_model, tmp_path):
    (tmp_path / "model").symlink_to(tiny_model)
    made = open_service(settings_for(tmp_path, str(tmp_path / "model")))
    yield made
    made.database.close()


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch):
    """A pause that no check of these outlasts; `pause_over` ends it."""
    monkeypatch.setattr(tries, "FIRST", 100.0)


@pytest.fixture
def file(service, tmp_path):
    """A good file, for which a job waits."""
    add_job(service, "waits", status=states.VALIDATING, stage=states.CHECKING)
    made = upload(service, tmp_path)
    with service.database.writing() as session:
        session.exec(select(Job)).one().training_file = made.id
    return made


def upload(service, tmp_path):
    with service.database.reading() as session:
        owner = session.exec(select(Job.organization_id)).one()
    new = NewFile(organization_id=owner, filename="r.jsonl", purpose=FINE_TUNE)
    return keep_file(service, new, [rows_file(tmp_path).read_bytes()])


def row(service, file):
    with service.database.reading() as session:
        return session.exec(select(StoredFile).where(col(StoredFile.id) == file.id)).one()


def job(service):
    with service.database.reading() as session:
        return session.exec(select(Job)).one()


def pause_over(service, file):
    with service.database.writing() as session:
        session.get_one(Lease, lease_of(file.id)).expires_ms = 0


def test_a_file_that_cannot_be_fetched_is_checked_later_and_others_meanwhile(service, file, tmp_path, caplog):
    other, kept = upload(service, tmp_path), service.settings.state / "files" / file.blob
    away = kept.rename(kept.with_name("away"))
    checker = Checker(service)
    assert checker.check_one()
    assert checker.check_one()
    assert not checker.check_one()  # the first one waits, also for whoever has just had it
    assert (row(service, file).status, row(service, file).status_details) == ("uploaded", None)
    assert row(service, other).status == "processed"
    assert job(service).status == states.VALIDATING
    assert str(kept) in caplog.text
    for _ in range(2 * MOST_TAKEN):  # by servers that come and go
        pause_over(service, file)
        assert Checker(service).check_one()
    assert row(service, file).status == "uploaded"
    away.rename(kept)
    pause_over(service, file)
    assert checker.check_one()
    assert row(service, file).status == "processed"
    assert job(service).status == states.QUEUED


def test_nor_is_a_model_that_cannot_be_read_the_files_fault(service, file, tmp_path):
    model = (tmp_path / "model").rename(tmp_path / "away")
    checker = Checker(service)
    assert checker.check_one()
    assert row(service, file).status == "uploaded"
    model.rename(tmp_path / "model")
    pause_over(service, file)
    assert checker.check_one()
    assert job(service).status == states.QUEUED


def test_the_pause_grows_and_ends(service, file, monkeypatch):
    monkeypatch.setitem(tries.MOST, tries.OUTAGES, 3)
    (service.settings.state / "files" / file.blob).unlink()
    checker = Checker(service)
    for seconds in (100, 200):
        assert checker.check_one()
        with service.database.reading() as session:
            left = session.get_one(Lease, lease_of(file.id)).expires_ms - leases._now_ms(session)
        assert seconds - 50 < left / 1000 <= seconds
        pause_over(service, file)
    assert checker.check_one()
    assert row(service, file).status_details == checking.UNCHECKED.details
    ended = job(service)
    assert ended.error is not None
    assert (ended.status, ended.error["code"]) == (states.FAILED, "invalid_training_file")


def test_a_file_that_breaks_off_whatever_checks_it_keeps_no_other_waiting(service, file, tmp_path):
    other = upload(service, tmp_path)
    machine = this_process().partition("|")[0]
    for number in range(MOST_TAKEN):
        with service.database.writing() as session:
            gone = f"{machine}|999999999|{number}"
            assert take_over(session, lease_of(file.id), gone, seconds=60) == number + 1
    checker = Checker(service)
    assert checker.check_one()
    assert (row(service, file).status, row(service, file).status_details) == checking.BREAKS_OFF[:2]
    assert job(service).status == states.FAILED
    assert checker.check_one()
    assert row(service, other).status == "processed"


def test_a_process_of_the_check_that_is_killed_counts_as_the_check(service, file, monkeypatch):
    def killed(*_, **__):
        from concurrent.futures.process import BrokenProcessPool

        from reft.errors import StorageError

        raise StorageError("a process that sorts rows was killed") from BrokenProcessPool()

    monkeypatch.setattr(checking, "validate_file", killed)
    checker = Checker(service)
    for _ in range(MOST_TAKEN):
        assert checker.check_one()
        assert row(service, file).status == "uploaded"
        pause_over(service, file)
    assert checker.check_one()
    assert row(service, file).status_details == checking.BREAKS_OFF.details


def test_a_checker_that_is_told_to_go_leaves_no_mark_on_its_file(service, file, monkeypatch):
    def told(*_, **__):
        raise SystemExit(143)

    monkeypatch.setattr(checking, "validate_file", told)
    for _ in range(2 * MOST_TAKEN):
        with pytest.raises(SystemExit):
            Checker(service).check_one()
    monkeypatch.undo()
    assert Checker(service).check_one()
    assert row(service, file).status == "processed"
