"""A real server on loopback for tests: the app in a thread of uvicorn, files checked in another."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import uvicorn
import yaml
from fastapi import FastAPI
from sqlmodel import Session, col, select

from reft.service.app import create_app
from reft.service.checking import Checker
from reft.service.clock import now
from reft.service.files import FINE_TUNE, NewFile, keep_file
from reft.service.jobs import states
from reft.service.keys import create_key
from reft.service.service import Service
from reft.service.settings import ServiceSettings, read_service_settings
from reft.service.tables import Job
from tests.factories import row, write_jsonl


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running server."""

    url: str
    app: FastAPI
    service: Service
    keys: dict[tuple[str, str], str]

    def key(self, organization: str = "acme", role: str = "customer") -> str:
        """A key of this role, made when it is first asked for."""
        if (organization, role) not in self.keys:
            with self.service.database.writing() as session:
                self.keys[organization, role] = create_key(session, organization, role)[1]
        return self.keys[organization, role]

    def client(self, organization: str = "acme", role: str = "customer", **options: Any) -> openai.OpenAI:
        """The SDK as a customer uses it, with strict validation of every answer."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key=self.key(organization, role),
            _strict_response_validation=True,
            **{"max_retries": 0, "timeout": 30.0, **options},
        )


def settings_for(folder: Path, model: str, **changed: Any) -> ServiceSettings:
    """Settings of a service in this folder, for a tiny model that is called `tiny`."""
    profile = folder / "profile.yaml"
    run = {"model": {"name": model, "max_length": 256, "dtype": "float32"}, "validation": {"min_rows": 3}}
    profile.write_text(yaml.safe_dump({"parameters": {"settings": run}}))
    values = {
        "state": folder / "state",
        "profile": profile,
        "base_models": {"tiny": model},
        "checkpoints": 3,
        **changed,
    }
    return read_service_settings(environment={}, **values)


def add_job(service: Service, name: str, owner: str = "acme", **changed: Any) -> str:
    """A queued job without files; gives its id."""
    with service.database.writing() as session:
        key, _ = create_key(session, owner, "customer")
        values = {"status": states.QUEUED, "stage": states.WAITING, **changed}
        session.add(
            Job(
                id=name, organization_id=key.organization_id, created_at=now(), created_ms=0, key_id=key.id,
                model="tiny", training_file="file-x", seed=1, body_digest="", **values,
            )
        )  # fmt: skip
    return name


def give_rows(service: Service, name: str) -> None:
    """Let a job have a training file."""
    with service.database.reading() as session:
        owner = session.exec(select(Job.organization_id).where(col(Job.id) == name)).one()
    file = keep_file(service, NewFile(organization_id=owner, filename="r.jsonl", purpose=FINE_TUNE), [b"{}\n"])
    with service.database.writing() as session:
        session.exec(select(Job).where(col(Job.id) == name)).one().training_file = file.id


@contextmanager
def served(settings: ServiceSettings, *, checks: bool = True) -> Generator[Served]:
    """Serve the app on a free port of loopback until the block ends."""
    app = create_app(settings)
    service: Service = app.state.service
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, daemon=True)
    stop = threading.Event()
    checker = threading.Thread(target=Checker(service).run, args=(stop,), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    if checks:
        checker.start()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(url=f"http://127.0.0.1:{port}", app=app, service=service, keys={})
    finally:
        server.should_exit = True
        stop.set()
        thread.join()
        if checks:
            checker.join()


def rows_file(folder: Path, count: int = 12, name: str = "rows.jsonl") -> Path:
    """Rows as OpenAI has them."""
    return write_jsonl(
        folder / name, [row(f"Where is my card number {i}?", f"card delivery {i}") for i in range(count)]
    )


def until(happened: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What it gives, once that is something."""
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)
    return found


def changed(server: Served, job_id: str, change: Callable[[Session, Job], object]) -> None:
    """Change the row as the job's runner would."""
    with server.service.database.writing() as session:
        row = session.exec(select(Job).where(col(Job.id) == job_id)).one()
        change(session, row)
        session.add(row)
