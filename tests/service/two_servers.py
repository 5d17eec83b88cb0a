"""Two servers, each with a state of its own, on one database and one folder of files and jobs."""

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import psutil
import yaml

from reft.runtime.processes import marked
from reft.service.jobs.child import MARK
from tests.deploy.databases import postgres, run

REFT = [sys.executable, "-m", "reft.cli"]
# What a pipeline is to its job while it runs: a process that takes long, and here says which job it was started for.
PIPELINE = """
import pathlib, sys, time
with open({log!r}, "a") as log:
    log.write(pathlib.Path(sys.argv[-1]).parent.name + "\\n")
time.sleep(600)
"""


class Site:
    """What the servers share."""

    def __init__(self, folder: Path, model: str, database: str, *, script: str = PIPELINE, **service: Any) -> None:
        self.folder, self.database = folder, database
        self.log = folder / "started"
        self.log.touch()
        pipeline = folder / "pipeline.py"
        pipeline.write_text(script.replace("{log!r}", repr(str(self.log))))
        settings = {"model": {"name": model, "max_length": 256}, "validation": {"min_rows": 3}}
        service = {
            "base_models": {"tiny": model}, "pipeline": [sys.executable, str(pipeline)], "jobs_at_once": 10,
            "database": database, "files": str(folder / "files"), "work": str(folder / "work"), "lease_seconds": 8,
            **service,
        }  # fmt: skip
        self.profile = folder / "profile.yaml"
        self.profile.write_text(yaml.safe_dump({"parameters": {"settings": settings}, "service": service}))

    def key(self) -> str:
        command = [*REFT, "keys", "create", "--organization", "acme", "--config", str(self.profile)]
        command += ["--state", str(self.folder / "keys")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    @contextmanager
    def serving(self, name: str, key: str, *options: str) -> Generator[tuple[Any, openai.OpenAI]]:
        """A server and a client of it."""
        command = [*REFT, "serve", "--config", str(self.profile), "--state", str(self.folder / name), "--port", "0"]
        with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
            try:
                url = re.search(r"http://\S+", process.stdout.readline())[0]
                yield process, openai.OpenAI(base_url=url, api_key=key, max_retries=6)
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                process.wait(30)

    def started(self) -> Counter[str]:
        """How often a pipeline was started for each job."""
        return Counter(self.log.read_text().split())

    def processes(self, job: str) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if marked(process, MARK) == job]

    def workers(self, job: str = "") -> list[psutil.Process]:
        """The processes that run jobs; those of one job."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "reft.service.jobs.worker" in words and str(self.folder) in " ".join(words) and job in " ".join(words):
                found.append(process)
        return found


@contextmanager
def site_on_postgres(folder: Path, model: str, **service: Any) -> Generator[Site]:
    """A site on a database of its own; afterwards nothing of it runs."""
    with postgres() as administrator:
        run("createdb", "service", environment=administrator)
        database = f"postgresql+psycopg2://postgres@127.0.0.1:{administrator['PGPORT']}/service"
        made = Site(folder, model, database, **service)
        try:
            yield made
        finally:
            for process in made.workers():
                process.kill()
            for job in made.started():
                for process in made.processes(job):
                    process.kill()
