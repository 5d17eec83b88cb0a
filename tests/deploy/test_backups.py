"""The very scripts of the backup CronJobs and the restore Jobs, on real servers: fill, dump, lose, restore, compare."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.databases import mysql, postgres, program, run
from tests.deploy.rendering import DEPLOY

pytestmark = pytest.mark.slow

BACKUP = DEPLOY / "base" / "backup"
SETUP = DEPLOY / "base" / "databases" / "create_mlflow.sh"
Environment = dict[str, str]
FILL = """
CREATE TABLE runs (id INT PRIMARY KEY, name VARCHAR(80) NOT NULL UNIQUE, metric DOUBLE PRECISION);
CREATE TABLE tags (run INT REFERENCES runs (id), value VARCHAR(80));
INSERT INTO runs VALUES (1, 'first', 0.5), (2, 'it''s ö 日本 \\\\ "quoted"', NULL), (3, 'third', 1e-9);
INSERT INTO tags VALUES (1, 'champion'), (3, '');
"""
SPOIL = "DROP TABLE tags; UPDATE runs SET name = 'lost' WHERE id = 2; CREATE TABLE later (id INT);"


def _dump_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.dump"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Environment]:
    """MLflow's databases as the postgres image makes them: by the setup script, run by the administrator."""
    program("pg_dump")
    with postgres() as administrator:
        run("sh", str(SETUP), environment=administrator | {"MLFLOW_DATABASE_PASSWORD": "it's p@ss"})
        yield administrator | {"PGUSER": "mlflow", "PGPASSWORD": "it's p@ss"}


@pytest.fixture
def jobs(cluster: Environment, tmp_path: Path) -> Environment:
    """The environment of the backup's container, with database `mlflow` filled anew."""
    psql("DROP SCHEMA public CASCADE; CREATE SCHEMA public;" + FILL, cluster)
    return cluster | {"BACKUPS": str(tmp_path / "backups"), "KEEP": "3"}


def psql(statement: str, environment: Environment, database: str = "mlflow") -> str:
    """What the statement answers, in plain rows."""
    options = ("--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", f"--dbname={database}")
    return run("psql", *options, environment=environment, stdin=statement)


def postgres_content(environment: Environment) -> str:
    """Everything that can be seen of the database: all rows, and how its tables are made."""
    rows = psql("SELECT * FROM runs ORDER BY 1; SELECT * FROM tags ORDER BY 1;", environment)
    made = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
    keys = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
    return rows + psql(f"{made} ORDER BY 1, ordinal_position; {keys} ORDER BY 1;", environment)


def test_postgres_comes_back_as_it_was(jobs: Environment) -> None:
    before = postgres_content(jobs)
    run("sh", str(BACKUP / "dump_postgres.sh"), "mlflow", "mlflow_users", environment=jobs)
    psql(SPOIL, jobs)
    assert "restored mlflow from mlflow-" in run("sh", str(BACKUP / "restore_postgres.sh"), "mlflow", environment=jobs)
    assert postgres_content(jobs) == before
    assert psql("SELECT to_regclass('later') IS NULL", jobs).strip() == "t"


def test_postgres_comes_back_on_an_empty_server(jobs: Environment, tmp_path: Path) -> None:
    before = postgres_content(jobs)
    run("sh", str(BACKUP / "dump_postgres.sh"), "mlflow", environment=jobs)
    with postgres() as administrator:
        run("sh", str(SETUP), environment=administrator | {"MLFLOW_DATABASE_PASSWORD": "another"})
        new = jobs | {"PGPORT": administrator["PGPORT"], "PGPASSWORD": "another"}
        for _ in range(2):  # a restore may be repeated
            run("sh", str(BACKUP / "restore_postgres.sh"), "mlflow", environment=new)
        assert postgres_content(new) == before
        # What was restored can be dumped and restored in its turn.
        run("sh", str(BACKUP / "dump_postgres.sh"), "mlflow", environment=new | {"BACKUPS": str(tmp_path / "second")})
        psql(SPOIL, new)
        run(
            "sh", str(BACKUP / "restore_postgres.sh"), "mlflow", environment=new | {"BACKUPS": str(tmp_path / "second")}
        )
        assert postgres_content(new) == before


def test_a_damaged_dump_changes_nothing(jobs: Environment) -> None:
    run("sh", str(BACKUP / "dump_postgres.sh"), "mlflow", environment=jobs)
    folder = Path(jobs["BACKUPS"])
    dump = folder / _dump_names(folder)[0]
    dump.write_bytes(dump.read_bytes()[:-200])
    before = postgres_content(jobs)
    with pytest.raises(RuntimeError, match="FAILED"):
        run("sh", str(BACKUP / "restore_postgres.sh"), "mlflow", environment=jobs)
    # Even where somebody made the checksum anew: the restore is one transaction.
    checksum = run("sha256sum", str(dump)).split()[0]
    (folder / f"{dump.name}.sha256").write_text(f"{checksum}  {dump.name}\n")
    with pytest.raises(RuntimeError):
        run("sh", str(BACKUP / "restore_postgres.sh"), "mlflow", environment=jobs)
    assert postgres_content(jobs) == before


def test_a_dump_that_fails_leaves_no_dump(jobs: Environment) -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        run("sh", str(BACKUP / "dump_postgres.sh"), "nowhere", environment=jobs)
    assert _dump_names(Path(jobs["BACKUPS"])) == []
    with pytest.raises(RuntimeError, match="no dump of nowhere"):
        run("sh", str(BACKUP / "restore_postgres.sh"), "nowhere", environment=jobs)


def test_only_the_newest_dumps_stay(tmp_path: Path) -> None:
    names = [f"mlflow-202601{day:02}T020000Z.dump" for day in range(1, 6)]
    others = ["mlflow_users-20250101T020000Z.dump", "notes.txt", ".mlflow-20260101T020000Z.dump"]
    for name in [*names, *others]:
        (tmp_path / name).write_text(name)
        (tmp_path / f"{name}.sha256").write_text(name)
    run("sh", str(BACKUP / "keep.sh"), str(tmp_path), "mlflow", "2")
    left = {path.name for path in tmp_path.iterdir() if not path.name.endswith(".sha256")}
    assert left == {*names[-2:], *others}
    assert not (tmp_path / f"{names[0]}.sha256").exists()


def mysql_query(statement: str, environment: Environment) -> str:
    """What the statement answers in database `zenml`."""
    where = [f"--host={environment['MYSQL_HOST']}", f"--port={environment['MYSQL_PORT']}"]
    who = [f"--user={environment['MYSQL_USER']}", f"--password={environment['MYSQL_PASSWORD']}"]
    options = ("--no-defaults", *where, *who, "--default-character-set=utf8mb4", "--batch")
    return run(program("mysql"), *options, "zenml", stdin=statement)


def test_mysql_comes_back_as_it_was(tmp_path: Path) -> None:
    program("mysqldump")
    look = "SELECT * FROM runs ORDER BY 1; SELECT * FROM tags ORDER BY 1; SHOW CREATE TABLE tags; SHOW TABLES;"
    with mysql() as server:
        jobs = server | {"BACKUPS": str(tmp_path / "backups"), "KEEP": "1"}
        mysql_query(
            FILL.replace("run INT REFERENCES runs (id)", "run INT, FOREIGN KEY (run) REFERENCES runs (id)"), jobs
        )
        before = mysql_query(look, jobs)
        run("sh", str(BACKUP / "dump_mysql.sh"), "zenml", environment=jobs)
        mysql_query(SPOIL, jobs)
        assert "restored zenml" in run("sh", str(BACKUP / "restore_mysql.sh"), "zenml", environment=jobs)
        assert mysql_query(look, jobs) == before
        folder = Path(jobs["BACKUPS"])
        dump = folder / _dump_names(folder)[0]
        dump.write_text(dump.read_text()[:-100])
        with pytest.raises(RuntimeError, match="FAILED"):
            run("sh", str(BACKUP / "restore_mysql.sh"), "zenml", environment=jobs)
        assert mysql_query(look, jobs) == before
        with pytest.raises(RuntimeError):
            run("sh", str(BACKUP / "dump_mysql.sh"), "nowhere", environment=jobs)
        assert len(_dump_names(folder)) == 1
