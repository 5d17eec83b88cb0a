"""The one state: SQLite beside the files, or PostgreSQL, brought up to date by Alembic."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from filelock import FileLock
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    TimeoutError,
)
from sqlmodel import Session

from reft.errors import ConfigurationError, StorageError, explain

BUSY_SECONDS = 30
MIGRATING, WRITING = 0x5EF7, 0x5EF8  # locks of PostgreSQL's: of whoever migrates, of whoever writes
LOCK = text("SELECT pg_advisory_xact_lock(:n)")
WRITES = "writes"
# What a statement meets where the database is away, starts again, or has been busy for too long.
AWAY = (OperationalError, InterfaceError, InternalError, TimeoutError)
# PostgreSQL: nobody waits longer for a lock than for SQLite's, and a machine that has gone in the middle of its
# transaction, so that it will never say so, keeps the lock for a minute at most.
OPTIONS = {
    "lock_timeout": BUSY_SECONDS * 1000,
    "idle_in_transaction_session_timeout": 60_000,
    "tcp_keepalives_idle": 20,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
}
CONNECTING = {
    "connect_timeout": 10, "keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3,
    "options": " ".join(f"-c {name}={value}" for name, value in OPTIONS.items()),
}  # fmt: skip


class Database:
    """Sessions on one engine.

    One session writes at a time, in all processes: it takes the lock when it begins, so that what it reads stays true
    until it is committed. SQLite knows no other way (one that reads first and writes later would be refused, at once,
    where another wrote in between); on PostgreSQL an advisory lock does the same, and statements see what was committed
    before it was had (READ COMMITTED: a snapshot would be older than the lock).
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._shared = self.engine.dialect.name != "sqlite"
        if self._shared:
            self._writing = self.engine.execution_options(isolation_level="READ COMMITTED")
            one_state = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            self._reading = self.engine.execution_options(**one_state)
        else:
            self._writing, self._reading = self.engine.execution_options(**{WRITES: True}), self.engine

    @contextmanager
    def reading(self) -> Generator[Session]:
        """A session that sees one state of the database and changes nothing."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Generator[Session]:
        """A session that is committed at the end of the block, whole, or not at all where it fails."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            if self._shared:
                session.connection().execute(LOCK, {"n": WRITING})
            yield session

    def answers(self) -> bool:
        """Whether the database can be reached now."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except AWAY:
            return False
        return True

    def migrate(self) -> None:
        """Bring the tables up to date; several processes may start at once.

        Raises:
            StorageError: the database cannot be reached or written.
        """
        try:
            with self._alone() as connection:
                config = Config()
                config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except DBAPIError as error:
            where = self.engine.url.render_as_string(hide_password=True)
            remedy = "does its server run, and may this user write there?"
            raise StorageError(explain(f"no database: {error.orig}", where, remedy)) from error

    @contextmanager
    def _alone(self) -> Generator[Connection]:
        if not self._shared:
            Path(self.engine.url.database or "").parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.engine.url.database}.lock"), self.engine.connect() as connection:
                yield connection
                connection.commit()
            return
        with self.engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:n)"), {"n": MIGRATING})
            connection.commit()
            try:
                yield connection
                connection.commit()
            finally:
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(:n)"), {"n": MIGRATING})
                connection.commit()

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql":
            return _server(parsed)
        if parsed.get_backend_name() != "sqlite":
            raise ArgumentError(f"{parsed.get_backend_name()} is neither SQLite nor PostgreSQL")
        engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS}, pool_size=20, max_overflow=40)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        remedy = "name one as postgresql+psycopg2://USER:PASSWORD@HOST/NAME, or none: SQLite in the state folder"
        raise ConfigurationError(explain(f"no such kind of database: {error}", "service.database", remedy)) from error
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _server(url: URL) -> Engine:
    """PostgreSQL's connections: few in each process, since all processes of all machines share the server's hundred.

    Each is tried before it is used, so that a server that has started again costs nobody an error.
    """
    return create_engine(
        url, connect_args=CONNECTING, pool_pre_ping=True, pool_size=5, max_overflow=5, pool_recycle=1800,
        pool_timeout=BUSY_SECONDS,
    )  # fmt: skip


def _prepare(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; `_begin` does
    for line in (f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {line}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
