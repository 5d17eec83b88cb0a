"""The service's core on a real PostgreSQL: several processes at once, pages, and a server that goes and comes back."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx2
import openai
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import col, func, select

from reft.service.beside import keep_looking
from reft.service.database import Database
from reft.service.files import NewFile, keep_file
from reft.service.jobs import leases, states
from reft.service.jobs.held import HeldJob, LostJob
from reft.service.keys import create_key
from reft.service.service import open_service
from reft.service.tables import METADATA, Event, Job, Lease
from tests.deploy.databases import postgres_cluster, run
from tests.service.racing import ROUNDS
from tests.service.serving import add_job, rows_file, served, settings_for, until

pytestmark = pytest.mark.slow
PROCESSES = 2


class Running:
    """A PostgreSQL server that a test may stop and start."""

    def __init__(self, cluster):
        self.cluster, self._open, self._made = cluster, ExitStack(), 0

    def start(self):
        self._open.enter_context(self.cluster.running())

    def stop(self):
        self._open.close()

    @contextmanager
    def away(self):
        self.stop()
        try:
            yield
        finally:
            self.start()

    def new(self):
        """The address of a new, empty database."""
        self._made += 1
        name = f"service_{self._made}"
        run("createdb", name, environment=self.cluster.environment)
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self.cluster.port}/{name}"


@pytest.fixture(scope="module")
def postgres():
    with postgres_cluster() as cluster:
        running = Running(cluster)
        running.start()
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture
def service(postgres, tiny_model, tmp_path):
    made = open_service(settings_for(tmp_path, tiny_model, database=postgres.new()))
    yield made
    made.database.close()


def a_job(service, name, **changed):
    add_job(service, name, **{"status": states.RUNNING, "stage": states.TRAINING, **changed})


def race(service, folder):
    """What each of several processes says that do the same at the same time."""
    file = folder / "settings.json"
    file.write_text(service.settings.model_dump_json())
    command = [sys.executable, "-m", "tests.service.racing", str(file)]
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([*command, str(i)], **piped) for i in range(PROCESSES)]
    assert [process.stdout.readline() for process in started] == ["ready\n"] * PROCESSES
    begin = f"{time.time() + 0.3}\n"
    for process in started:
        process.stdin.write(begin)
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0] * PROCESSES
    return [json.loads(one) for one in said]


def test_several_migrate_at_once_from_nothing_and_the_tables_are_those_of_the_code(postgres):
    url = postgres.new()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Database(url).migrate(), range(4)))
    with Database(url).engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_a_create_that_several_processes_get_at_once_makes_one_job_and_a_lease_is_one_processs(service, tmp_path):
    with service.database.writing() as session:
        key, _ = create_key(session, "acme", "customer")
    keep_file(service, NewFile(organization_id=key.organization_id, filename="a.jsonl", purpose="fine-tune"), [b"{}"])
    with service.database.writing() as session:
        owner = {"quotas": json.dumps({"unfinished_jobs": 1000})}
        session.connection().execute(text("UPDATE organization SET quotas = :quotas"), owner)
    said = race(service, tmp_path)
    jobs = said[0]["jobs"]
    assert all(one["jobs"] == jobs for one in said)
    with service.database.reading() as session:
        assert session.exec(select(func.count()).select_from(Job)).one() == ROUNDS == len(set(jobs))
        events = session.exec(select(Event.message).where(col(Event.mark) == "created")).all()
    assert len(events) == ROUNDS
    assert sorted(name for one in said for name in one["leases"]) == sorted(f"race:{i}" for i in range(ROUNDS))


def test_leases_go_by_the_servers_clock(service, monkeypatch):
    monkeypatch.setattr("reft.service.jobs.leases.now_ms", lambda: 10**15)  # a machine that is far ahead
    with service.database.writing() as session:
        assert leases.take(session, "x", "a", seconds=30)
        assert leases.take(session, "x", "b", seconds=30) is None
        assert leases.is_held(session, "x")
        assert leases.holder_of(session, "x") == "a"


def test_what_was_read_in_a_session_that_writes_stays_true_until_it_ends(service):
    with service.database.writing() as session:
        session.add(Lease(name="count", holder="0", expires_ms=0))

    def add(_):
        with service.database.writing() as session:
            row = session.exec(select(Lease).where(col(Lease.name) == "count")).one()
            row.expires_ms += 1
            session.add(row)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(64)))
    with service.database.reading() as session:
        assert session.get_one(Lease, "count").expires_ms == 64


def test_a_session_that_reads_sees_one_state_and_can_change_nothing(service):
    with service.database.reading() as session:
        before = session.exec(select(func.count()).select_from(Lease)).one()
        with service.database.writing() as other:
            other.add(Lease(name="later", holder="0", expires_ms=0))
        assert session.exec(select(func.count()).select_from(Lease)).one() == before
        session.add(Lease(name="never", holder="0", expires_ms=0))
        with pytest.raises(Exception, match="read-only"):
            session.flush()
    with service.database.writing() as session:  # and the connection, which is used again, can
        assert session.get(Lease, "later")
        session.add(Lease(name="again", holder="0", expires_ms=0))


def test_a_customer_goes_through_pages_and_cancels_and_pauses(postgres, tiny_model, tmp_path):
    with served(settings_for(tmp_path, tiny_model, database=postgres.new())) as server:
        client = server.client()
        files = [
            client.files.create(file=rows_file(tmp_path, name=f"{i}.jsonl"), purpose="fine-tune") for i in range(3)
        ]
        for file in files:
            assert client.files.wait_for_processing(file.id, poll_interval=0.05).status == "processed"
        assert [file.id for file in client.files.list(limit=2)] == [file.id for file in files][::-1]
        jobs = [
            client.fine_tuning.jobs.create(model="tiny", training_file=files[0].id, metadata={"i": str(i)})
            for i in range(4)
        ]
        assert [job.id for job in client.fine_tuning.jobs.list(limit=2)] == [job.id for job in jobs][::-1]
        found = client.fine_tuning.jobs.list(extra_query={"metadata[i]": "3"}).data
        assert [job.id for job in found] == [jobs[3].id]
        assert client.fine_tuning.jobs.cancel(jobs[0].id).status == "cancelled"
        with pytest.raises(openai.BadRequestError):
            client.fine_tuning.jobs.cancel(jobs[0].id)
        assert client.fine_tuning.jobs.pause(jobs[1].id).metadata["reft_stage"] == "paused"
        assert "reft_stage" not in (client.fine_tuning.jobs.resume(jobs[1].id).metadata or {})
        said = [event.message for event in client.fine_tuning.jobs.list_events(jobs[1].id, limit=1)][::-1]
        assert said[0].startswith("Created")
        assert said[-1] == "Fine-tuning job resumed"
        upload = client.uploads.create(bytes=3, filename="a", mime_type="text/plain", purpose="user_data")
        parts = [client.uploads.parts.create(upload.id, data=data).id for data in (b"a", b"bc")]
        done = client.uploads.complete(upload.id, part_ids=parts)
        assert client.files.delete(done.file.id).deleted
        answer = httpx2.get(f"{server.url}/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_database_that_starts_again_costs_nobody_a_job(postgres, tiny_model, tmp_path):
    looks, stop = [], threading.Event()
    with served(settings_for(tmp_path, tiny_model, database=postgres.new(), lease_seconds=60)) as server:
        database = server.service.database
        a_job(server.service, "held")
        held = HeldJob(server.service, "held", "somebody")
        with held.alive(), held.changing():
            pass

        def look():
            with database.reading() as session:
                looks.append(session.exec(select(Job.id)).first())
            return False

        beside = threading.Thread(target=keep_looking, args=(look, stop), kwargs={"pause": 0.05}, daemon=True)
        beside.start()
        client = server.client()
        client.models.list()
        with ThreadPoolExecutor(1) as pool:
            with postgres.away():
                assert not database.answers()
                assert httpx2.get(f"{server.url}/healthz").status_code == 200
                assert httpx2.get(f"{server.url}/readyz").status_code == 503
                with pytest.raises(openai.InternalServerError) as error:
                    client.models.list()
                assert (error.value.status_code, error.value.code) == (503, "database_unavailable")
                looked = pool.submit(held.look)
                time.sleep(0.5)
                assert not looked.done()
            assert looked.result(timeout=30).id == "held"
        with held.changing() as (_, job):
            job.trained_tokens = 7
        assert client.models.list().data
        seen = len(looks)
        until(lambda: len(looks) > seen)
        stop.set()
        beside.join()
        held.seconds = 0  # longer than its lease: somebody else may have it
        with postgres.away(), pytest.raises(LostJob):
            held.look()
