"""Every knob of the service: of a profile's section `service`, of REFT_SERVICE_* in the environment, of the command."""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from reft.config import Count, Section, Settings, read_profile
from reft.config.file import wrong_settings
from reft.config.yaml_file import read_yaml
from reft.wording import problems_of

ENVIRONMENT = "REFT_SERVICE_"
STATE = Path(".reft/service")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MEGABYTE = 1_000_000


class Limits(Section):
    """What one request may bring."""

    file_bytes: Count = Field(512 * MEGABYTE, description="of a file in one request")
    part_bytes: Count = Field(64 * MEGABYTE, description="of one part of an upload")
    upload_bytes: Count = Field(8_000 * MEGABYTE, description="of a file that comes in parts")
    upload_seconds: Count = Field(3600, description="how long an upload waits for its parts")
    body_bytes: Count = Field(4 * MEGABYTE, description="of a request that brings no file")


class Quotas(Section):
    """What an organization may hold, unless its own row in the database says otherwise."""

    bytes: Count = Field(50_000 * MEGABYTE, description="of all its files together")
    unfinished_jobs: Count = Field(20, description="jobs that wait or run at once")
    rows: Count = Field(1_000_000, description="usable rows of one job")
    webhook_endpoints: Count = Field(10, description="addresses that its webhooks go to")


class ServiceSettings(Section):
    """The whole service."""

    state: Path = Field(STATE, description="folder of the database, the files and the jobs")
    profile: Path | None = Field(None, description="run configuration of the jobs; none: the default one")
    host: str = Field("127.0.0.1", description="address to listen at; beyond loopback only once there are keys")
    port: int = Field(8321, ge=0, le=65535, description="port to listen at; 0: any free one")
    workers: Count = Field(1, description="HTTP processes")
    database: str = Field("", description="SQLAlchemy URL; none: SQLite in the state folder")
    files: str = Field("", description="folder or s3://BUCKET/PREFIX of the files; none: in the state folder")
    work: Path | None = Field(
        None, description="folder of running jobs, which all machines and their steps share; none: in the state folder"
    )
    limits: Limits = Limits()
    quotas: Quotas = Quotas()
    repeat_seconds: Count = Field(600, description="how long a create that is sent again finds the job it made")
    base_models: dict[str, str] = Field(
        default_factory=dict, description="served base models: public name and folder or hub id; none: the profile's"
    )
    aliases: dict[str, str] = Field(
        default_factory=dict, description="other names of base models, such as those in old scripts"
    )
    review: Literal["wait", "go_on"] = Field("go_on", description="what a job with quarantined rows does")
    reviewers: Literal[1, 2] = Field(1, description="how many people decide on a row")
    retention_days: Annotated[int, Field(ge=0)] = Field(
        0, description="days after which files and finished jobs go; 0: they stay"
    )
    jobs_at_once: Count = Field(1, description="jobs that run side by side, on all machines together")
    lease_seconds: Count = Field(30, description="how long a worker that says nothing keeps its job")
    pipeline: list[str] = Field(
        default_factory=lambda: [str(Path(sys.executable).with_name("zenml")), "pipeline", "run", "reft_pipeline"],
        description="command of a job; --config and its file follow",
    )
    forget: list[str] = Field(
        default_factory=lambda: [sys.executable, "-m", "pipelines.forget"],
        description="command that deletes what the pipeline has stored of jobs; their ids follow; empty: nothing does",
    )
    stop: list[str] = Field(
        default_factory=list,
        description="command that ends a job's run on a cluster, where it outlives its pipeline's process; "
        "--config and its file follow",
    )
    pipeline_folder: Path = Field(Path("."), description="where these commands are run: a clone of the repository")
    most_harmful: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="share of harmful rows from which a file is refused as a whole"
    )
    golden_rows: Annotated[int, Field(ge=0)] = Field(
        20, description="rows of a validation file whose answers before and after finetuning are kept; 0: none"
    )
    checkpoints: Count = Field(
        1,
        description="last epochs of a job whose states are kept and answer; 1: the finished model alone, "
        "which is judged; more: states that nobody judged answer, too, once it has passed",
    )
    adapters_in_memory: Count = Field(8, description="finetuned models that are held at once")
    models_in_memory: Count = Field(2, description="whole models that are held at once, base models among them")
    copies_bytes: Count = Field(
        20_000 * MEGABYTE,
        description="copies on this machine of models that lie in a bucket; beyond it those go that were used least "
        "recently",
    )
    teacher: Path | None = Field(
        None,
        description="folder of the teacher that moderates; none: the last job's, or runs/latest/teacher in the "
        "pipeline's folder",
    )
    vllm: str = Field("", description="address of a vLLM server that answers for the models; none: this process does")
    private_webhooks: bool = Field(False, description="deliver to private and loopback addresses, too")

    @property
    def database_url(self) -> str:
        """Where the state is."""
        return self.database or f"sqlite:///{self.state.absolute() / 'service.db'}"

    @property
    def files_url(self) -> str:
        """Where the files are."""
        return self.files or str(self.state.absolute() / "files")

    @property
    def work_folder(self) -> Path:
        """Where jobs work."""
        return (self.work or self.state).absolute()

    @property
    def on_loopback(self) -> bool:
        """Whether this machine alone can ask."""
        return self.host in LOOPBACK

    def run_settings(self) -> Settings:
        """What a job's pipeline is run with, before the job's own part.

        Raises:
            ConfigurationError: the profile is missing or wrong.
        """
        return read_profile(self.profile) if self.profile else Settings()

    def models(self) -> dict[str, str]:
        """The served base models: public name (without a slash, which would be two steps of a path) and where it lies.

        Raises:
            ConfigurationError: the profile is missing or wrong.
        """
        if self.base_models:
            return dict(self.base_models)
        name = self.run_settings().model.name
        return {name.rstrip("/").rsplit("/", 1)[-1]: name}


def _is_json(text: str) -> bool:
    """Whether a variable holds a list or a section, as `["zenml", "pipeline"]`."""
    if text[:1] not in "[{":
        return False
    with suppress(ValueError):
        return isinstance(json.loads(text), list | dict)
    return False


def read_service_settings(
    config: Path | None = None, environment: Mapping[str, str] | None = None, **given: Any
) -> ServiceSettings:
    """The settings of a profile, overruled by the environment's, overruled by what is given (None: nothing is).

    Raises:
        ConfigurationError: the profile is missing or wrong, or a setting is.
    """
    file = read_yaml(config) if config else None
    content = file.value if file and isinstance(file.value, Mapping) else {}
    values: dict[str, Any] = dict(content.get("service") or {})
    if config and set(content) != {"service"}:  # a file of these settings alone leaves a run's at their defaults
        values.setdefault("profile", config.absolute())
    surroundings = os.environ if environment is None else environment
    for name in ServiceSettings.model_fields:
        if text := surroundings.get(f"{ENVIRONMENT}{name.upper()}"):
            values[name] = json.loads(text) if _is_json(text) else text
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        return ServiceSettings.model_validate(values)
    except ValidationError as error:
        within = ("service",) if "service" in content else ()
        raise wrong_settings(problems_of(error, ServiceSettings, values), file, within=within) from error
