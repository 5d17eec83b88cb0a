"""What fails by no fault of a job's is tried again, later each time; what is finished is kept meanwhile."""

import pytest
from sqlmodel import col, select

from reft.service.jobs import leases, lifecycle, states, tries
from reft.service.jobs.dispatcher import Dispatcher
from reft.service.jobs.events import say
from reft.service.jobs.folders import folder_of
from reft.service.jobs.forgetting import ask_to_forget
from reft.service.jobs.held import lease_of
from reft.service.service import open_service
from reft.service.tables import Job
from tests.service.finished_runs import leave_run, work_on
from tests.service.serving import add_job, give_rows, settings_for

NAME = "ftjob-x"


class Recorded(Dispatcher):
    """Takes leases as the real one does; its workers go at once, without a word."""

    def __init__(self, service):
        super().__init__(service, service.settings.state)
        self.started = 0

    def _launch(self, job_id, kept_for_it):
        with self.service.database.writing() as session:
            leases.release(session, lease_of(job_id), kept_for_it)
        self.started += 1


@pytest.fixture
def service(tiny_model, tmp_path):
    made = open_service(settings_for(tmp_path, tiny_model))
    yield made
    made.database.close()


def job(service):
    with service.database.reading() as session:
        return session.exec(select(Job).where(col(Job.id) == NAME)).one()


def change(service, how):
    with service.database.writing() as session:
        how(session, session.exec(select(Job).where(col(Job.id) == NAME)).one())


@pytest.fixture
def run(service, tiny_model):
    """The folder of a job whose run is over, and whose files cannot be written."""
    add_job(service, NAME)
    folder = folder_of(service.settings, NAME)
    leave_run(folder.latest, tiny_model)
    service.settings.state.joinpath("files").write_text("no folder")
    return folder


def test_a_finished_model_waits_for_files_that_are_away(service, run):
    for times in range(1, 6):
        assert work_on(service, NAME).status == states.RUNNING
        assert job(service).work[tries.TRIES][tries.OUTAGES] == times
    assert run.is_whole
    dispatcher = Recorded(service)
    dispatcher.once()
    assert not dispatcher.started
    service.settings.state.joinpath("files").unlink()
    assert work_on(service, NAME).status == states.SUCCEEDED
    assert not run.root.exists()


def test_its_owner_may_have_it_tried_at_once(service, run):
    work_on(service, NAME)
    for asked in (lambda session, job: lifecycle.pause(session, job, runs=False), lifecycle.resume):
        change(service, asked)
    dispatcher = Recorded(service)
    dispatcher.once()
    assert dispatcher.started
    assert run.is_whole


def test_it_is_given_up_after_a_long_time_and_the_model_goes_with_its_rows_alone(service, run, monkeypatch):
    monkeypatch.setitem(tries.MOST, tries.OUTAGES, 2)
    assert work_on(service, NAME).status == states.RUNNING
    ended = work_on(service, NAME)
    assert ended.error is not None
    assert (ended.status, ended.error["code"]) == (states.FAILED, "server_error")
    dispatcher = Recorded(service)
    dispatcher._tidy()
    assert run.is_whole
    change(service, ask_to_forget)
    dispatcher._tidy()
    assert not run.root.exists()


def test_rows_that_cannot_be_fetched_are_fetched_later(service):
    add_job(service, NAME)
    give_rows(service, NAME)
    files = service.settings.state / "files"
    files.rename(files.with_name("away"))
    for _ in range(4):
        assert work_on(service, NAME).status == states.RUNNING
    assert tries.is_put_off(job(service))


def test_the_pauses_grow_and_a_job_that_gets_on_begins_anew(service):
    assert [tries.pause_before(times) for times in (1, 2, 3, 7, 10_000)] == [5, 10, 20, 300, 300]
    assert sum(map(tries.pause_before, range(1, tries.MOST[tries.OUTAGES]))) > 86_400
    add_job(service, NAME)
    for _ in range(3):
        change(service, lambda session, job: tries.put_off(session, job, tries.OUTAGES))
    change(service, lambda session, job: say(session, job, "Training has started"))
    change(service, lambda session, job: tries.put_off(session, job, tries.OUTAGES))
    assert job(service).work[tries.TRIES][tries.OUTAGES] == 1


def test_an_unexplained_fault_pauses_too_and_ends_the_job_at_last(service, run):
    (run.latest / "losses.json").write_text("[3]")  # not what a run writes
    for _ in range(2):
        assert work_on(service, NAME).status == states.RUNNING
        assert tries.is_put_off(job(service))
    assert work_on(service, NAME).status == states.FAILED
    assert run.is_whole


def test_a_job_whose_workers_go_without_a_word_is_started_so_often_and_no_more(service):
    add_job(service, NAME)
    dispatcher = Recorded(service)
    for _ in range(tries.MOST[tries.STARTS]):
        dispatcher.once()
    assert job(service).status == states.QUEUED
    change(service, lambda session, job: say(session, job, "Step 1"))  # it got on
    for _ in range(tries.MOST[tries.STARTS] + 5):
        dispatcher.once()
    ended = job(service)
    assert ended.error is not None
    assert (ended.status, ended.error["code"]) == (states.FAILED, "server_error")
    assert dispatcher.started == 2 * tries.MOST[tries.STARTS]
    with service.database.reading() as session:
        assert not leases.is_held(session, lease_of(NAME))


def test_a_disk_on_which_no_worker_can_be_started_is_no_fault_of_the_jobs(service):
    add_job(service, NAME)
    (service.settings.state / "job-logs").write_text("no folder")
    dispatcher = Dispatcher(service, service.settings.state)
    dispatcher.once()
    assert job(service).work[tries.TRIES][tries.OUTAGES] == 1
    assert tries.is_put_off(job(service))
