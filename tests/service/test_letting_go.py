"""What a process of the service gives back when it is told to go, so that no other one has to wait for its lease."""

import signal
import subprocess
import sys

import pytest
from sqlmodel import col, select

from reft.service.jobs import leases, states
from reft.service.jobs.dispatcher import LEADER, Dispatcher
from reft.service.jobs.folders import folder_of
from reft.service.jobs.held import lease_of
from reft.service.jobs.holders import coming
from reft.service.service import open_service
from reft.service.tables import Event, Job, Lease
from tests.service.serving import add_job, give_rows, settings_for, until

# The process that watches a run elsewhere.
WATCHES = "import pathlib, sys, time; pathlib.Path(sys.argv[-1]).with_name('watched').touch(); time.sleep(600)"


def lease(service, name):
    with service.database.reading() as session:
        return session.exec(select(Lease).where(col(Lease.name) == name)).one()


def test_a_dispatcher_gives_back_the_lead_that_it_has_and_no_other(tiny_model, tmp_path):
    service = open_service(settings_for(tmp_path, tiny_model))
    leads, waits = (Dispatcher(service, tmp_path / name) for name in ("one", "two"))
    assert leads._leads()
    assert not waits._leads()
    waits.leave()
    assert lease(service, LEADER).holder == leads.holder
    assert lease(service, LEADER).expires_ms > 0
    leads.leave()
    assert lease(service, LEADER).expires_ms == 0  # which every machine sees, not only this one
    assert waits._leads()
    service.database.close()


@pytest.mark.slow
def test_a_worker_that_is_told_to_go_leaves_its_job_to_the_next_one(tiny_model, tmp_path):
    command = [sys.executable, "-c", WATCHES]
    service = open_service(settings_for(tmp_path, tiny_model, pipeline=command, stop=["false"], lease_seconds=300))
    add_job(service, "ftjob-x")
    (tmp_path / "settings.json").write_text(service.settings.model_dump_json())
    give_rows(service, "ftjob-x")
    kept = coming()
    with service.database.writing() as session:
        assert leases.take(session, lease_of("ftjob-x"), kept, seconds=60)
    work = folder_of(service.settings, "ftjob-x")
    command = [sys.executable, "-m", "reft.service.jobs.worker", str(tmp_path / "settings.json"), "ftjob-x", kept]
    with subprocess.Popen(command) as worker:
        until((work.root / "watched").exists, seconds=60)
        held = lease(service, lease_of("ftjob-x"))
        assert held.holder.split("|")[1] == str(worker.pid)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    assert lease(service, lease_of("ftjob-x")).expires_ms == 0
    with service.database.reading() as session:
        assert session.exec(select(Job.status).where(col(Job.id) == "ftjob-x")).one() == states.RUNNING
        said = session.exec(select(Event.message).where(col(Event.job_id) == "ftjob-x")).all()
    assert not any("fail" in text for text in said)
    assert work.rows.with_suffix(".jsonl").is_file()  # what the next one goes on with
    service.database.close()
