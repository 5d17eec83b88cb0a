"""What the pipeline has stored of a job is deleted by the command of the settings, again until it has."""

import sys

import pytest
from sqlmodel import col, select

from reft.service.jobs import leases, states
from reft.service.jobs.folders import folder_of
from reft.service.jobs.forgetting import AT_ONCE, Forgetting, ask_to_forget, is_forgotten
from reft.service.jobs.held import lease_of
from reft.service.service import open_service
from reft.service.tables import Job
from tests.service.serving import add_job, settings_for, until

# Writes down its arguments; fails while a file is there.
COMMAND = """
import pathlib, sys
pathlib.Path(sys.argv[1], "called").open("a").write(" ".join(sys.argv[2:]) + "\\n")
sys.exit(pathlib.Path(sys.argv[1], "broken").exists())
"""


@pytest.fixture
def service(tiny_model, tmp_path):
    command = [sys.executable, "-c", COMMAND, str(tmp_path)]
    made = open_service(settings_for(tmp_path, tiny_model, forget=command, pipeline_folder=tmp_path))
    yield made
    made.database.close()


def a_job(service, name, **changed):
    add_job(service, name, **{"status": states.FAILED, "stage": states.DONE, "attempts": 1, **changed})
    with service.database.writing() as session:
        ask_to_forget(session, session.exec(select(Job).where(col(Job.id) == name)).one())
    return name


def forgotten(service):
    with service.database.reading() as session:
        return {job.id for job in session.exec(select(Job)).all() if is_forgotten(job)}


@pytest.mark.slow
def test_the_command_is_given_what_is_asked_until_it_has_done_it(service, tmp_path):
    for name in ("ftjob-a", "ftjob-b"):
        a_job(service, name)
    a_job(service, "ftjob-runs", status=states.RUNNING)
    (tmp_path / "broken").touch()
    forgetting = Forgetting(service)
    until(lambda: forgetting.look() or (forgetting._running is None and (tmp_path / "called").exists()))
    assert forgotten(service) == set()
    forgetting.look()
    assert forgetting._running is None  # not again at once
    (tmp_path / "broken").unlink()
    forgetting._next = 0.0
    until(lambda: forgetting.look() or forgotten(service))
    assert forgotten(service) == {"ftjob-a", "ftjob-b"}
    assert (tmp_path / "called").read_text().splitlines() == ["ftjob-a ftjob-b"] * 2
    forgetting._next = 0.0
    forgetting.look()
    assert forgetting._running is None  # nothing is left to do


def test_without_a_command_there_is_nothing_to_wait_for(tiny_model, tmp_path):
    service = open_service(settings_for(tmp_path, tiny_model, forget=[]))
    names = {a_job(service, f"ftjob-{number:03}") for number in range(AT_ONCE + 1)}
    forgetting = Forgetting(service)
    forgetting.look()
    assert len(forgotten(service)) == AT_ONCE
    forgetting._next = 0.0
    forgetting.look()
    assert forgotten(service) == names
    service.database.close()


def test_a_job_that_never_ran_has_nothing_stored(service):
    a_job(service, "ftjob-a", attempts=0)
    assert forgotten(service) == {"ftjob-a"}
    with service.database.reading() as session:
        assert session.exec(select(Job).where(col(Job.id) == "ftjob-a")).one().work == {}


def test_nothing_is_forgotten_before_all_of_its_job_has_ended(service):
    name = a_job(service, "ftjob-ends")
    forgetting, folder = Forgetting(service), folder_of(service.settings, "ftjob-ends").root
    folder.mkdir(parents=True)
    assert forgetting._asked() == []
    folder.rmdir()
    with service.database.writing() as session:
        assert leases.take(session, lease_of(name), "its worker", seconds=60)
    assert forgetting._asked() == []
    with service.database.writing() as session:
        leases.release(session, lease_of(name), "its worker")
    assert forgetting._asked() == [name]
