"""A server that is told to end, as a pod is: what it leads and what it only watches is another one's at once."""

import signal
import sys
import time

import psutil
import pytest
from sqlmodel import col, select

from reft.service.beside import service_of
from reft.service.jobs.dispatcher import LEADER, LEADS
from reft.service.tables import Lease
from tests.service.serving import rows_file, until
from tests.service.two_servers import site_on_postgres

pytestmark = [pytest.mark.slow, pytest.mark.night]
# A cluster's run, to its job: it goes on whoever attaches to it, and by its number one sees that it is the same one.
ATTACHES = """
import os, pathlib, subprocess, sys, time
place = pathlib.Path(sys.argv[-1]).parent
run = place / "run.pid"
if not run.exists():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REFT_")}
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=environment,
                               start_new_session=True)
    run.write_text(str(started.pid))
with open({log!r}, "a") as log:
    log.write(place.name + "\\n")
time.sleep(600)
"""
STOPS = """
import os, pathlib, signal, sys
run = pathlib.Path(sys.argv[-1]).parent / "run.pid"
if run.exists():
    os.kill(int(run.read_text()), signal.SIGKILL)
    run.unlink()
"""
LONG = 300  # seconds of a job's lease: far longer than the test


@pytest.fixture
def site(tiny_model, tmp_path):
    stop = tmp_path / "stop.py"
    stop.write_text(STOPS)
    command = [sys.executable, str(stop)]
    with site_on_postgres(tmp_path, tiny_model, script=ATTACHES, stop=command, lease_seconds=LONG) as made:
        yield made


def test_who_leads_and_is_told_to_end_hands_over_at_once_and_runs_on_a_cluster_go_on(site, tmp_path):
    key = site.key()
    with site.serving("one", key, "--workers", "2") as (first, one), site.serving("two", key) as (second, two):
        service = service_of(site.folder / "one" / "settings.json")

        def leader():
            with service.database.reading() as session:
                return session.exec(select(Lease).where(col(Lease.name) == LEADER)).one()

        file = one.files.create(file=rows_file(tmp_path), purpose="fine-tune").id
        assert one.files.wait_for_processing(file, poll_interval=0.2, max_wait_seconds=60).status == "processed"
        jobs = [one.fine_tuning.jobs.create(model="tiny", training_file=file, suffix=f"n{i}").id for i in range(2)]
        until(lambda: len(site.started()) == 2, seconds=90)
        number = int(leader().holder.split("|")[1])
        leads, other, follows = (first, second, two) if first.pid in _parents(number) else (second, first, one)
        runs = {job: int((site.folder / "work" / "jobs" / job / "run.pid").read_text()) for job in jobs}
        asked = time.monotonic()
        leads.send_signal(signal.SIGTERM)
        until(lambda: other.pid in _parents(int(leader().holder.split("|")[1])), seconds=30)
        handed = time.monotonic() - asked
        until(lambda: site.started() == dict.fromkeys(jobs, 2), seconds=60)
        again = time.monotonic() - asked
        print(f"handed over after {handed:.1f} s, attached again after {again:.1f} s")
        assert handed < LEADS
        assert again < LONG / 5
        assert leads.wait(30) in (0, 128 + signal.SIGTERM)  # several processes end by themselves, one by the signal
        assert all(psutil.pid_exists(run) for run in runs.values())  # the same runs, never stopped
        assert {job: int((site.folder / "work" / "jobs" / job / "run.pid").read_text()) for job in jobs} == runs
        assert {follows.fine_tuning.jobs.retrieve(job).status for job in jobs} == {"running"}
        said = [event.message for event in follows.fine_tuning.jobs.list_events(jobs[0])]
        assert len(set(said)) == len(said)
        for job in jobs:
            follows.fine_tuning.jobs.cancel(job)
        until(lambda: not any(map(_runs, runs.values())) and not site.workers(), seconds=60)


def _parents(number):
    try:
        return {process.pid for process in psutil.Process(number).parents()}
    except psutil.NoSuchProcess:
        return set()


def _runs(number):
    return psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE
