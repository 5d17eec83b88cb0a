"""A served student: MLflow's own server as a user starts it, and requests to it."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from reft.models.loading import load_tokenizer
from reft.tracking.serving import make_servable
from tests.factories import build_model
from tests.ports import free_port
from tests.tracking.server import answers


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Served:
    """A running server."""

    process: subprocess.Popen
    port: int
    log: Path

    def ask(self, body: Any, *, kind: str = "application/json", seconds: float = 60) -> Answer:
        """Send a body: bytes as they are, anything else as JSON."""
        return self.send(body if isinstance(body, bytes) else json.dumps(body).encode(), kind=kind, seconds=seconds)

    def send(self, body: Any, *, kind: str = "application/json", seconds: float = 60) -> Answer:
        """Send bytes, or pieces of them without telling how many there will be."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(
                "POST", "/invocations", body, {"Content-Type": kind}, encode_chunked=not isinstance(body, bytes)
            )
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())
        finally:
            connection.close()

    def processes(self) -> list[psutil.Process]:
        """The server's process and all that it started."""
        main = psutil.Process(self.process.pid)
        return [main, *main.children(recursive=True)]

    def memory_mb(self) -> float:
        """Resident memory of all of them together."""
        return sum(process.memory_info().rss for process in self.processes()) / 2**20


@contextmanager
def served(model: str | Path, folder: Path, **environment: str) -> Generator[Served]:
    """Serve a model, a folder or a registry's address, and end it; its log lies in the folder."""
    port, program = free_port(), Path(sys.executable).with_name("mlflow")
    command = [program, "models", "serve", "-m", str(model), "--env-manager", "local", "--port", str(port)]
    variables = {**os.environ, **environment, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1"], env=variables, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    started = Served(process, port, folder / "log")
    try:
        end = time.monotonic() + 180
        while not answers(f"http://127.0.0.1:{port}/ping"):
            assert process.poll() is None, started.log.read_text()
            assert time.monotonic() < end, started.log.read_text()
            time.sleep(0.2)
        yield started
    finally:
        ours = started.processes() if process.poll() is None else []
        for one in ours:
            one.terminate()
        for one in psutil.wait_procs(ours, timeout=30)[1]:
            one.kill()
        process.wait(10)


def servable(folder: Path, max_length: int) -> Path:
    """A tiny student in the folder, as a registered version leaves it."""
    folder = build_model(folder, "llama")
    load_tokenizer(str(folder)).save_pretrained(folder)
    make_servable(folder, max_length)
    return folder
