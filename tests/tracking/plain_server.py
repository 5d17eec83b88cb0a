"""`mlflow server` on SQLite, which can be killed and started again at the same address on the same files."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port
from tests.tracking.server import launch


@dataclass
class PlainServer:
    """A server without accounts, on 127.0.0.1 alone."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [
            Path(sys.executable).with_name("mlflow"), "server", "--workers", "1", "--host", "127.0.0.1",
            "--port", str(self.port), "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}",
            "--artifacts-destination", str(self.folder / "artifacts"),
        ]  # fmt: skip
        environment = {
            **os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }  # fmt: skip
        self.process = launch(command, environment, self.folder, health=f"{self.address}/health")

    def kill(self) -> None:
        """SIGKILL to the server and its workers, as a machine that loses power."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
