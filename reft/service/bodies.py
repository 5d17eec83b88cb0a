"""What requests bring, checked: unknown fields are refused, since nothing would read them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds a zero byte")  # PostgreSQL keeps none
    return text


Str = Annotated[str, AfterValidator(_storable)]
Id = Annotated[Str, Field(min_length=1, max_length=200)]
Auto = Literal["auto"]
Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data"]
Seconds = Annotated[int, Field(ge=3600, le=2_592_000)]


class Body(BaseModel):
    """Base of every body."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class ExpiresAfter(Body):
    """When a file goes by itself."""

    anchor: Literal["created_at"]
    seconds: Seconds


class FileForm(Body):
    """The text fields of an uploaded file."""

    purpose: Purpose
    expires_after: ExpiresAfter | None = None


class UploadCreate(Body):
    """A file that will come in parts."""

    bytes: Annotated[int, Field(ge=1, le=2**62)]
    filename: Annotated[Str, Field(min_length=1, max_length=1000)]
    mime_type: Annotated[Str, Field(max_length=255)]
    purpose: Purpose
    expires_after: ExpiresAfter | None = None


class UploadComplete(Body):
    """The parts in their order."""

    part_ids: Annotated[list[Id], Field(min_length=1, max_length=10_000)]
    md5: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{32}$")] | None = None


class Hyperparameters(Body):
    """What may be set of a training; `auto` (and nothing) leaves it to the profile."""

    batch_size: Auto | Annotated[int, Field(ge=1, le=256, strict=True)] | None = None
    n_epochs: Auto | Annotated[int, Field(ge=1, le=50, strict=True)] | None = None
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=1000)] | None = None

    def filled(self) -> dict[str, Any]:
        """As a job shows them."""
        return {name: "auto" if value is None else value for name, value in self.model_dump().items()}


class Supervised(Body):
    """The one method there is."""

    hyperparameters: Hyperparameters | None = None


class Method(Body):
    """How to train; `dpo` and `reinforcement` are read so that the answer can say what is supported."""

    type: Annotated[str, Field(max_length=64)]
    supervised: Supervised | None = None
    dpo: Any = None
    reinforcement: Any = None


Metadata = Annotated[
    dict[Annotated[Str, Field(max_length=64)], Annotated[Str, Field(max_length=512)]], Field(max_length=16)
]


class JobCreate(Body):
    """A job."""

    model: Annotated[Str, Field(min_length=1, max_length=512)]
    training_file: Id
    validation_file: Id | None = None
    suffix: Annotated[Str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)] | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    metadata: Metadata | None = None
    integrations: list[Any] | None = None


class PermissionCreate(Body):
    """Who else may use a model."""

    project_ids: Annotated[list[Annotated[Str, Field(min_length=1, max_length=64)]], Field(min_length=1, max_length=50)]


EventTypes = Annotated[
    list[Literal["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]],
    Field(min_length=1, max_length=3),
]


class WebhookCreate(Body):
    """Where events go."""

    name: Annotated[Str, Field(min_length=1, max_length=200)]
    url: Annotated[Str, Field(max_length=2000)]
    event_types: EventTypes


class WebhookUpdate(Body):
    """What of it changes."""

    name: Annotated[Str, Field(min_length=1, max_length=200)] | None = None
    url: Annotated[Str, Field(max_length=2000)] | None = None
    event_types: EventTypes | None = None


class WebhookRotate(Body):
    """Whether the old secret signs, too, for a day."""

    keep_old_secret_active_for_24_hours: bool = False
