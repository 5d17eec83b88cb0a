import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import col, select

from reft.errors import ConfigurationError, StorageError
from reft.service.database import Database
from reft.service.jobs import leases
from reft.service.keys import any_key, create_key
from reft.service.tables import METADATA, ApiKey, Lease


@pytest.fixture
def database(tmp_path):
    found = Database(f"sqlite:///{tmp_path / 'state' / 'service.db'}")
    found.migrate()
    yield found
    found.close()


def test_the_migrations_make_the_tables(database):
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_several_processes_may_migrate_at_once_and_again(tmp_path):
    url = f"sqlite:///{tmp_path / 'service.db'}"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Database(url).migrate(), range(4)))


def test_what_fails_within_a_block_leaves_nothing(database):
    def fail():
        with database.writing() as session:
            create_key(session, "acme", "customer")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.reading() as session:
        assert not any_key(session)


def test_many_writers_that_read_first_wait_for_one_another(database):
    with database.writing() as session:
        session.add(Lease(name="count", holder="0", expires_ms=0))

    def add(_):
        with database.writing() as session:
            row = session.exec(select(Lease).where(col(Lease.name) == "count")).one()
            row.expires_ms += 1
            session.add(row)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(64)))
    with database.reading() as session:
        assert session.get_one(Lease, "count").expires_ms == 64


def test_a_lease_has_one_holder_until_it_runs_out(database):
    def take(holder, seconds=30.0):
        with database.writing() as session:
            return leases.take(session, "leader", holder, seconds=seconds)

    assert take("a") == 1
    assert take("b") is None
    assert take("a", seconds=0) == 1  # renewed, and over at once
    assert take("b") == 2
    assert take("a") is None
    with database.writing() as session:
        leases.release(session, "leader", "a")  # no longer its own
        assert leases.is_held(session, "leader")
        leases.release(session, "leader", "b")
        assert not leases.is_held(session, "leader")


def test_one_of_many_takes_a_lease(database):
    taken, start = [], threading.Barrier(8)

    def race(number):
        start.wait()
        with database.writing() as session:
            if leases.take(session, "job:x", str(number), seconds=30):
                taken.append(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(race, range(8)))
    assert len(taken) == 1


def test_a_database_that_is_none_is_explained(tmp_path):
    with pytest.raises(ConfigurationError, match="no such kind of database"):
        Database("nonsense://x")
    (tmp_path / "file").write_text("no database " * 500)
    with pytest.raises(StorageError, match="no database"):
        Database(f"sqlite:///{tmp_path / 'file'}").migrate()


def test_the_key_itself_is_nowhere_in_the_file(database, tmp_path):
    with database.writing() as session:
        _, key = create_key(session, "acme", "customer")
    with database.reading() as session:
        assert session.exec(select(ApiKey)).one().prefix == key[:12]
    written = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert key.encode() not in written
    assert key[:12].encode() in written
