"""What the database holds. A change here needs a migration; a test holds the two together.

Ids are random. `seq` gives lists their order, which whole seconds would not. What was deleted leaves its id and its
place, so that a list that is being read page by page goes on.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Text, UniqueConstraint
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

__all__ = [
    "METADATA", "ApiKey", "Checkpoint", "Event", "Job", "JobLabel", "Lease", "Listed", "Organization", "PageSession",
    "Permission", "ReviewDecision", "ReviewItem", "ServedModel", "StoredFile", "Upload", "UploadPart",
    "WebhookDelivery", "WebhookEndpoint",
]  # fmt: skip


# Other libraries of this process (ZenML) have tables of their own in SQLModel's default registry.
REGISTRY = registry()
METADATA = REGISTRY.metadata


class Table(SQLModel, registry=REGISTRY):
    """Base of every table."""


class Listed(Table):
    """What has an id, an owner and a place in lists."""

    seq: int | None = Field(default=None, primary_key=True)
    id: str = Field(unique=True)
    organization_id: str = Field(index=True)
    created_at: int = Field(sa_type=BigInteger)


class Organization(Table, table=True):
    """A tenant; `quotas` overrules the settings'."""

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    created_at: int = Field(sa_type=BigInteger)
    quotas: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class ApiKey(Listed, table=True):
    """A key: its digest alone, and its beginning, to be told by."""

    digest: str = Field(unique=True)
    prefix: str
    role: str
    scopes: list[str] = Field(default_factory=list, sa_type=JSON)
    note: str = ""
    ends_at: int | None = Field(default=None, sa_type=BigInteger)
    revoked_at: int | None = Field(default=None, sa_type=BigInteger)


class PageSession(Table, table=True):
    """Somebody who signed in to the pages with a key: the digest of the cookie alone. It ends with its key, too."""

    digest: str = Field(primary_key=True)
    key_id: str
    created_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(sa_type=BigInteger)


class StoredFile(Listed, table=True):
    """A file: an upload, or what a job made (`derived_from`: the upload whose text is in it)."""

    filename: str
    purpose: str
    bytes: int = Field(sa_type=BigInteger)
    sha256: str = ""
    blob: str
    status: str = "uploaded"
    status_details: str | None = Field(default=None, sa_type=Text)
    usable_rows: int | None = None
    derived_from: str | None = Field(default=None, index=True)
    expires_at: int | None = Field(default=None, sa_type=BigInteger)
    deleted_at: int | None = Field(default=None, sa_type=BigInteger)


class Upload(Listed, table=True):
    """A file that comes in parts."""

    filename: str
    purpose: str
    mime_type: str
    bytes: int = Field(sa_type=BigInteger)
    status: str = "pending"
    expires_at: int = Field(sa_type=BigInteger)
    file_seconds: int | None = None
    file_id: str | None = None
    part_ids: list[str] = Field(default_factory=list, sa_type=JSON)


class UploadPart(Listed, table=True):
    """One part, in any order; completing names the order."""

    upload_id: str = Field(index=True)
    bytes: int = Field(sa_type=BigInteger)
    blob: str


class Job(Listed, table=True):
    """A finetuning job.

    `status` is one of the protocol's six; `stage` is what is really going on (`jobs.states`); `wanted` is what was
    asked of whoever runs it: run, pause, cancel. `work` is the runner's own notebook (folder, process, progress).
    """

    __table_args__ = (Index("ix_job_repeat", "organization_id", "body_digest"),)

    key_id: str
    created_ms: int = Field(sa_type=BigInteger)
    model: str
    training_file: str = Field(index=True)
    validation_file: str | None = None
    suffix: str | None = None
    seed: int
    hyperparameters: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    user_metadata: dict[str, str] | None = Field(default=None, sa_type=JSON)
    notes: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    status: str = Field(index=True)
    stage: str
    wanted: str = "run"
    error: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    fine_tuned_model: str | None = None
    result_files: list[str] = Field(default_factory=list, sa_type=JSON)
    trained_tokens: int | None = Field(default=None, sa_type=BigInteger)
    estimated_finish: int | None = Field(default=None, sa_type=BigInteger)
    started_at: int | None = Field(default=None, sa_type=BigInteger)
    finished_at: int | None = Field(default=None, sa_type=BigInteger)
    body_digest: str
    retries: int = 0
    attempts: int = 0
    work: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class JobLabel(Table, table=True):
    """One pair of a job's metadata, to look jobs up by."""

    job_id: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    value: str


class Event(Listed, table=True):
    """Something that happened to a job; `mark` is unique within it, so that work done again says nothing twice."""

    __table_args__ = (UniqueConstraint("job_id", "mark"),)

    job_id: str = Field(index=True)
    mark: str
    level: str = "info"
    message: str = Field(sa_type=Text)
    type: str = "message"
    data: dict[str, Any] | None = Field(default=None, sa_type=JSON)


class Checkpoint(Listed, table=True):
    """A model as it was after so many steps."""

    __table_args__ = (UniqueConstraint("job_id", "step_number"),)

    job_id: str = Field(index=True)
    step_number: int
    model: str
    metrics: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class Permission(Listed, table=True):
    """Another organization (`project_id`: its id or name) may use a checkpoint or model of this one."""

    model: str = Field(index=True)
    project_id: str = Field(index=True)
    deleted_at: int | None = Field(default=None, sa_type=BigInteger)


class ServedModel(Listed, table=True):
    """A model that was made here; `id` is its name. It answers only while `passed` is true and it is not deleted."""

    base: str
    job_id: str = Field(index=True)
    kind: str = "finetuned"
    folder: str = ""
    passed: bool = False
    gate: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    deleted_at: int | None = Field(default=None, sa_type=BigInteger)


class WebhookEndpoint(Listed, table=True):
    """Where events are sent. The secret is kept as it is: signing needs it."""

    name: str
    url: str = Field(sa_type=Text)
    event_types: list[str] = Field(default_factory=list, sa_type=JSON)
    secret: str
    previous_secret: str | None = None
    previous_until: int | None = Field(default=None, sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)
    deleted_at: int | None = Field(default=None, sa_type=BigInteger)


class WebhookDelivery(Listed, table=True):
    """One event for one endpoint; once for each `mark`."""

    __table_args__ = (UniqueConstraint("endpoint_id", "mark"),)

    endpoint_id: str = Field(index=True)
    mark: str
    event_type: str
    body: str = Field(sa_type=Text)
    attempts: int = 0
    next_at: int = Field(sa_type=BigInteger, index=True)
    delivered_at: int | None = Field(default=None, sa_type=BigInteger)
    given_up_at: int | None = Field(default=None, sa_type=BigInteger)
    last_answer: str = Field(default="", sa_type=Text)


class ReviewItem(Listed, table=True):
    """A quarantined row of a job that somebody decides on.

    `score` is None where the row could not be scored; `place` is where the filter read the deciding `span`;
    `decision` is what stands (`review.decisions`), None while that is open.
    """

    __table_args__ = (UniqueConstraint("job_id", "row"),)

    job_id: str = Field(index=True)
    row: int
    score: float | None = None
    threshold: float | None = None
    proposed: str
    reason: str = Field(sa_type=Text)
    span: str = Field(default="", sa_type=Text)
    place: str = ""
    content: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    group: str = ""
    decision: str | None = None
    decided_at: int | None = Field(default=None, sa_type=BigInteger)
    released_at: int | None = Field(default=None, sa_type=BigInteger)


class ReviewDecision(Listed, table=True):
    """Who decided what, when and why; never changed, a change of mind is a further one."""

    item_id: str = Field(index=True)
    job_id: str = Field(index=True)
    reviewer: str
    key_id: str
    decision: str
    reason: str = Field(default="", sa_type=Text)
    how: str = "row"


class Lease(Table, table=True):
    """Who may do something (`job:ID`, `leader`, `file:ID`) until when; `generation`: so many have taken it, in turn."""

    name: str = Field(primary_key=True)
    holder: str
    expires_ms: int = Field(sa_type=BigInteger)
    generation: int = 1
