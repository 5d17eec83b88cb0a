"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None


def _listed() -> list[sa.Column]:
    """Every listed table begins with these."""
    return [
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("organization_id", sa.String, nullable=False, index=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    ]


def _needed(kind: type[TypeEngine[Any]], names: str) -> list[sa.Column]:
    return [sa.Column(name, kind, nullable=False) for name in names.split()]


def _optional(kind: type[TypeEngine[Any]], names: str) -> list[sa.Column]:
    return [sa.Column(name, kind, nullable=True) for name in names.split()]


def _organizations() -> None:
    op.create_table(
        "organization",
        *(
            sa.Column("id", sa.String, primary_key=True),
            sa.Column("name", sa.String, nullable=False, unique=True),
            *_needed(sa.BigInteger, "created_at"),
            *_needed(sa.JSON, "quotas"),
        ),
    )
    op.create_table(
        "apikey",
        *(
            *_listed(),
            sa.Column("digest", sa.String, nullable=False, unique=True),
            *_needed(sa.String, "prefix role note"),
            *_needed(sa.JSON, "scopes"),
            *_optional(sa.BigInteger, "ends_at revoked_at"),
        ),
    )
    op.create_table(
        "pagesession",
        *(
            sa.Column("digest", sa.String, primary_key=True),
            *_needed(sa.String, "key_id"),
            *_needed(sa.BigInteger, "created_at expires_at"),
        ),
    )


def _files() -> None:
    op.create_table(
        "storedfile",
        *(
            *_listed(),
            *_needed(sa.String, "filename purpose sha256 blob status"),
            *_needed(sa.BigInteger, "bytes"),
            *_optional(sa.Text, "status_details"),
            *_optional(sa.Integer, "usable_rows"),
            *_optional(sa.String, "derived_from"),
            *_optional(sa.BigInteger, "expires_at deleted_at"),
        ),
    )
    op.create_index("ix_storedfile_derived_from", "storedfile", ["derived_from"])
    op.create_table(
        "upload",
        *(
            *_listed(),
            *_needed(sa.String, "filename purpose mime_type status"),
            *_needed(sa.BigInteger, "bytes expires_at"),
            *_optional(sa.Integer, "file_seconds"),
            *_optional(sa.String, "file_id"),
            *_needed(sa.JSON, "part_ids"),
        ),
    )
    op.create_table(
        "uploadpart",
        *(
            *_listed(),
            *_needed(sa.String, "upload_id blob"),
            *_needed(sa.BigInteger, "bytes"),
        ),
    )
    op.create_index("ix_uploadpart_upload_id", "uploadpart", ["upload_id"])


def _job() -> None:
    op.create_table(
        "job",
        *(
            *_listed(),
            *_needed(sa.String, "key_id model training_file status stage wanted body_digest"),
            *_needed(sa.BigInteger, "created_ms"),
            *_optional(sa.String, "validation_file suffix fine_tuned_model"),
            *_needed(sa.Integer, "seed retries attempts"),
            *_needed(sa.JSON, "hyperparameters notes result_files work"),
            *_optional(sa.JSON, "user_metadata error"),
            *_optional(sa.BigInteger, "trained_tokens estimated_finish started_at finished_at"),
        ),
    )
    op.create_index("ix_job_repeat", "job", ["organization_id", "body_digest"])
    op.create_index("ix_job_status", "job", ["status"])
    op.create_index("ix_job_training_file", "job", ["training_file"])
    op.create_table(
        "joblabel",
        *(
            sa.Column("job_id", sa.String, primary_key=True),
            sa.Column("name", sa.String, primary_key=True),
            *_needed(sa.String, "value"),
        ),
    )


def _job_records() -> None:
    op.create_table(
        "event",
        *(
            *_listed(),
            *_needed(sa.String, "job_id mark level type"),
            *_needed(sa.Text, "message"),
            *_optional(sa.JSON, "data"),
            sa.UniqueConstraint("job_id", "mark"),
        ),
    )
    op.create_index("ix_event_job_id", "event", ["job_id"])
    op.create_table(
        "checkpoint",
        *(
            *_listed(),
            *_needed(sa.String, "job_id model"),
            *_needed(sa.Integer, "step_number"),
            *_needed(sa.JSON, "metrics"),
            sa.UniqueConstraint("job_id", "step_number"),
        ),
    )
    op.create_index("ix_checkpoint_job_id", "checkpoint", ["job_id"])
    op.create_table(
        "lease",
        *(
            sa.Column("name", sa.String, primary_key=True),
            *_needed(sa.String, "holder"),
            *_needed(sa.BigInteger, "expires_ms"),
            *_needed(sa.Integer, "generation"),
        ),
    )


def _models() -> None:
    op.create_table(
        "permission",
        *(
            *_listed(),
            *_needed(sa.String, "model project_id"),
            *_optional(sa.BigInteger, "deleted_at"),
        ),
    )
    op.create_index("ix_permission_model", "permission", ["model"])
    op.create_index("ix_permission_project_id", "permission", ["project_id"])
    op.create_table(
        "servedmodel",
        *(
            *_listed(),
            *_needed(sa.String, "base job_id kind folder"),
            *_needed(sa.Boolean, "passed"),
            *_needed(sa.JSON, "gate"),
            *_optional(sa.BigInteger, "deleted_at"),
        ),
    )
    op.create_index("ix_servedmodel_job_id", "servedmodel", ["job_id"])


def _webhooks() -> None:
    op.create_table(
        "webhookendpoint",
        *(
            *_listed(),
            *_needed(sa.String, "name secret"),
            *_needed(sa.Text, "url"),
            *_needed(sa.JSON, "event_types"),
            *_optional(sa.String, "previous_secret"),
            *_optional(sa.BigInteger, "previous_until deleted_at"),
            *_needed(sa.BigInteger, "updated_at"),
        ),
    )
    op.create_table(
        "webhookdelivery",
        *(
            *_listed(),
            *_needed(sa.String, "endpoint_id mark event_type"),
            *_needed(sa.Text, "body last_answer"),
            *_needed(sa.Integer, "attempts"),
            *_needed(sa.BigInteger, "next_at"),
            *_optional(sa.BigInteger, "delivered_at given_up_at"),
            sa.UniqueConstraint("endpoint_id", "mark"),
        ),
    )
    op.create_index("ix_webhookdelivery_endpoint_id", "webhookdelivery", ["endpoint_id"])
    op.create_index("ix_webhookdelivery_next_at", "webhookdelivery", ["next_at"])


def _reviews() -> None:
    op.create_table(
        "reviewitem",
        *(
            *_listed(),
            *_needed(sa.String, "job_id proposed group place"),
            *_needed(sa.Integer, "row"),
            *_optional(sa.Float, "score threshold"),
            *_needed(sa.Text, "reason span"),
            *_needed(sa.JSON, "content"),
            *_optional(sa.String, "decision"),
            *_optional(sa.BigInteger, "decided_at released_at"),
            sa.UniqueConstraint("job_id", "row"),
        ),
    )
    op.create_index("ix_reviewitem_job_id", "reviewitem", ["job_id"])
    op.create_table(
        "reviewdecision",
        *(
            *_listed(),
            *_needed(sa.String, "item_id job_id reviewer key_id decision how"),
            *_needed(sa.Text, "reason"),
        ),
    )
    op.create_index("ix_reviewdecision_item_id", "reviewdecision", ["item_id"])
    op.create_index("ix_reviewdecision_job_id", "reviewdecision", ["job_id"])


def upgrade() -> None:
    """Make them."""
    _organizations()
    _files()
    _job()
    _job_records()
    _models()
    _webhooks()
    _reviews()


def downgrade() -> None:
    """Drop them, with all that they hold."""
    for name in (
        "organization",
        "apikey",
        "pagesession",
        "storedfile",
        "upload",
        "uploadpart",
        "job",
        "joblabel",
        "event",
        "checkpoint",
        "lease",
        "permission",
        "servedmodel",
        "webhookendpoint",
        "webhookdelivery",
        "reviewitem",
        "reviewdecision",
    ):
        op.drop_table(name)
