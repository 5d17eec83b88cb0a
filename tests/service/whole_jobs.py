"""`reft serve` in a clone of the product with a tiny model, so that a whole job takes seconds; and what kills it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import openai
import psutil
import yaml
from mlflow.tracking import MlflowClient
from sqlmodel import col, select

from reft.service.jobs.child import MARK
from reft.service.jobs.states import FINISHED
from reft.service.review.decisions import Given, decide
from reft.service.review.holding import release
from reft.service.service import Service, open_service
from reft.service.settings import read_service_settings
from reft.service.tables import Job, ReviewItem
from tests.factories import BREAD, HARM, row, write_jsonl
from tests.pipelines.clone import Clone
from tests.service import serving

# What a gate asks of a real model, this one of a few thousand random weights cannot give.
NO_GATE = dict.fromkeys(
    ("max_harmful_score", "max_over_refusal", "max_ordinary_refusal", "min_coherence", "max_filter_fpr")
)
SECONDS = 300.0
EPOCHS = 15


@dataclass
class Site:
    """One service, its state and its server, which may be killed and started again."""

    clone: Clone
    name: str
    profile: Path
    process: "subprocess.Popen[str] | None" = None
    url: str = ""
    key: str = ""
    killed: list[str] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.clone.folder / self.name

    def reft(self, *arguments: str) -> str:
        """A command of the product on this state; what it prints."""
        command = [sys.executable, "-m", "reft.cli", *arguments, "--state", str(self.state)]
        where: dict[str, Any] = {"cwd": self.clone.folder, "env": self.clone.environment}
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, **where).stdout.strip()

    def start(self) -> None:
        """Start the server and wait until it listens."""
        command = [sys.executable, "-m", "reft.cli", "serve", "--config", str(self.profile)]
        command += ["--state", str(self.state), "--port", self.url.rpartition(":")[2].removesuffix("/v1") or "0"]
        self.process = subprocess.Popen(
            command, cwd=self.clone.folder, env=self.clone.environment, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        said = self.process.stdout.readline()
        found = re.search(r"http://\S+", said)
        assert found, said
        self.url = found[0]

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the server."""
        assert self.process
        self.process.send_signal(number)
        self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()

    def client(self, **options: Any) -> openai.OpenAI:
        """The SDK as its customer uses it."""
        self.key = self.key or self.reft("keys", "create", "--organization", "acme")
        given = {"max_retries": 8, "timeout": 30.0, **options}
        return openai.OpenAI(base_url=self.url, api_key=self.key, _strict_response_validation=True, **given)

    def workers(self) -> list[psutil.Process]:
        """The processes that run jobs, without their pipelines."""
        return _processes(lambda p: "reft.service.jobs.worker" in p.cmdline() and str(self.state) in str(p.cmdline()))

    def pipelines(self, job_id: str) -> list[psutil.Process]:
        """Every process of a job's pipeline."""
        return _processes(lambda p: p.environ().get(MARK) == job_id)

    def kill_worker(self) -> None:
        """At once, without a chance to tidy up."""
        for process in self.workers():
            with suppress(psutil.Error):
                process.kill()
        self.killed.append("worker")

    def kill_server(self) -> None:
        """Likewise; and start it again."""
        self.stop(signal.SIGKILL)
        self.killed.append("server")


def _processes(wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and wanted(process):
                found.append(process)
    return found


def site(clone: Clone, name: str, *, settings: dict[str, Any] | None = None, **service: Any) -> Site:
    """A service of its own in the clone.

    Args:
        settings: sections of the run, over those of the clone's profile.
        service: the section `service`.
    """
    path = clone.profile(f"{name}-run", **{"gate": NO_GATE, "finetuning": {"epochs": EPOCHS}, **(settings or {})})
    content = yaml.safe_load(path.read_text())
    content["service"] = {"base_models": {"tiny": "model"}, "lease_seconds": 5, "checkpoints": 3, **service}
    content["parameters"]["settings"]["validation"] = {"min_rows": 3}
    path.write_text(yaml.safe_dump(content))
    return Site(clone, name, path)


@contextmanager
def running(place: Site) -> Generator[openai.OpenAI]:
    """Its server, until the block ends; afterwards nothing of it runs."""
    place.start()
    try:
        yield place.client()
    finally:
        place.stop()
        for process in place.workers():
            process.kill()
        for folder in (place.state / "jobs").glob("*"):
            for process in place.pipelines(folder.name):
                with suppress(psutil.Error):
                    process.kill()


def rows(
    folder: Path,
    *,
    harmless: int,
    harmful: int = 0,
    name: str = "rows.jsonl",
    answer: str = "Mix it well and bake it.",
    first: int = 100,
) -> Path:
    """Rows of the two kinds that the tiny teacher knows, numbered, the harmful ones last, with this answer."""
    good = [row(BREAD.format(first + i), "Mix it well and bake it.") for i in range(harmless)]
    return write_jsonl(folder / name, good + [row(HARM.format(first + i), answer) for i in range(harmful)])


def same_rows(client: openai.OpenAI, folder: Path) -> dict[str, Any]:
    """The files and the seed of the job that others are compared with."""
    mixed = rows(folder, harmless=12, harmful=2, name="mixed.jsonl")
    validation = rows(folder, harmless=5, name="validation.jsonl", first=300)
    files = {"training_file": uploaded(client, mixed), "validation_file": uploaded(client, validation)}
    return {"model": "tiny", "seed": 7, **files}


def stored(clone: Clone, text: str) -> list[Path]:
    """Files of the stores of ZenML and MLflow that hold this text."""
    return [
        path for path in (clone.folder / ".reft").rglob("*") if path.is_file() and text.encode() in path.read_bytes()
    ]


def of_provider(clone: Clone) -> set[Path]:
    """The files of the steps whose results all jobs share."""
    steps = ("refusal_feature", "teacher", "soft_labels", "calibration", "baselines")
    stores = clone.folder / ".reft" / "zenml" / "local_stores"
    found = {path for step in steps for path in stores.glob(f"*/{step}/**/*") if path.is_file()}
    assert found
    return found


def registered(clone: Clone) -> set[str]:
    """The names in the clone's model registry."""
    client = MlflowClient(*[clone.environment["MLFLOW_TRACKING_URI"]] * 2)
    return {model.name for model in client.search_registered_models()}


def uploaded(client: openai.OpenAI, path: Path) -> str:
    """A file that has been checked."""
    file = client.files.create(file=path, purpose="fine-tune")
    done = client.files.wait_for_processing(file.id, poll_interval=0.2, max_wait_seconds=120)
    assert done.status == "processed", done.status_details
    return file.id


def started(client: openai.OpenAI, path: Path, **options: Any) -> str:
    """A job on a file that is uploaded for it."""
    file = uploaded(client, path)
    return client.fine_tuning.jobs.create(model="tiny", training_file=file, **{"seed": 7, **options}).id


def finished(client: openai.OpenAI, job_id: str) -> Any:
    """The job, once it has ended."""
    return until(lambda: _ended(client, job_id))


def _ended(client: openai.OpenAI, job_id: str) -> Any:
    job = client.fine_tuning.jobs.retrieve(job_id)
    return job if job.status in FINISHED else None


until = partial(serving.until, seconds=SECONDS)


def messages(client: openai.OpenAI, job_id: str) -> list[str]:
    """What the events say, oldest first."""
    return [event.message for event in client.fine_tuning.jobs.list_events(job_id, limit=100)][::-1]


def result(client: openai.OpenAI, job: Any, name: str) -> bytes:
    """A result file by the end of its name."""
    files = [client.files.retrieve(file) for file in job.result_files]
    (found,) = [file for file in files if file.filename.endswith(name)]
    return client.files.content(found.id).read()


def adapter(place: Site, job_id: str) -> bytes:
    """The weights that are served."""
    return (place.state / "files" / "models" / job_id / "adapter_model.safetensors").read_bytes()


def earlier(place: Site, job_id: str) -> list[bytes]:
    """The weights of its other checkpoints, in the order of their names."""
    found = (place.state / "files" / "models").glob(f"{job_id}.step-*/adapter_model.safetensors")
    return [path.read_bytes() for path in sorted(found)]


def waits(client: openai.OpenAI, job_id: str) -> Any:
    """The job, if it waits for people."""
    job = client.fine_tuning.jobs.retrieve(job_id)
    assert job.status not in ("failed", "succeeded"), job.error
    return job if (job.metadata or {}).get("reft_stage") == "waiting_for_review" else None


def decide_all(place: Site, job_id: str, decision: str) -> list[int]:
    """As the review page does it: the decisions, and the job let go; the rows' numbers."""
    service = _service_of(place)
    with service.database.writing() as session:
        items = list(session.exec(select(ReviewItem).where(col(ReviewItem.job_id) == job_id)).all())
        assert items
        assert all(item.content["messages"] and item.span for item in items)
        decide(session, items, Given(by="eve", key_id="key_eve", decision=decision, reason="looks fine"), people=1)
        release(session, job_id, "eve")
        return [item.row for item in items]


def costs(place: Site, job_id: str) -> dict[str, Any]:
    """What the operator's page shows."""
    with _service_of(place).database.reading() as session:
        return session.exec(select(Job.work).where(col(Job.id) == job_id)).one()["costs"]


def _service_of(place: Site) -> Service:
    return open_service(read_service_settings(place.profile, {}, state=place.state))


KILLS = int(os.environ.get("REFT_SERVICE_KILLS", "4"))
