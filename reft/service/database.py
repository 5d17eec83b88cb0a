"""The one state: SQLite beside the files, or PostgreSQL, brought up to date by Alembic."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from filelock import FileLock
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlmodel import Session

from reft.errors import ConfigurationError, StorageError, explain

BUSY_SECONDS = 30
MIGRATING = 0x5EF7  # the lock of PostgreSQL's that whoever migrates holds
WRITES = "writes"


class Database:
    """Sessions on one engine.

    A session that may write takes SQLite's lock when it begins: one that reads first and writes later would be refused,
    at once, where another wrote in between.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._writing = self.engine.execution_options(**{WRITES: True})

    @contextmanager
    def reading(self) -> Generator[Session]:
        """A session that sees one state of the database and changes nothing."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Generator[Session]:
        """A session that is committed at the end of the block, whole, or not at all where it fails."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

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
        if self.engine.dialect.name == "sqlite":
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
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_pre_ping=True, pool_size=20, max_overflow=20)
        engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS}, pool_size=20, max_overflow=40)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        remedy = "name one as postgresql+psycopg2://USER:PASSWORD@HOST/NAME, or none: SQLite in the state folder"
        raise ConfigurationError(explain(f"no such kind of database: {error}", "service.database", remedy)) from error
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; `_begin` does
    for line in (f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {line}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
