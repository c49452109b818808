"""The tables as the newest of the `migrations` leaves them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()

# Ids sort as bytes, whatever the language of a PostgreSQL database.
_ID = sa.String().with_variant(sa.String(collation="C"), "postgresql")

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("principal", sa.String, nullable=False),
    sa.Column("request_id", sa.String),
    sa.Column("request_digest", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("create_time", sa.Float(53), nullable=False),
    sa.Column("start_time", sa.Float(53)),
    sa.Column("end_time", sa.Float(53)),
    sa.Column("expire_time", sa.Float(53)),
    sa.Column("cancel_time", sa.Float(53)),
    sa.Column("delete_time", sa.Float(53)),
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    sa.Column("lost_attempts", sa.Integer, nullable=False, default=0),
    sa.Column("last_seq", sa.BigInteger, nullable=False, default=0),
    sa.Column("progress", sa.Text),
    sa.Column("result", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("worker", sa.String),
    sa.Column("lease_until", sa.Float(53)),
    sa.Column("run_counted_until", sa.Float(53)),
    sa.Column("run_seconds", sa.Float(53), nullable=False, default=0.0),
    sa.Column("max_run_seconds", sa.Float(53), nullable=False),
    sa.Column("queue_deadline", sa.Float(53)),
    sa.Column("abandon_grace_seconds", sa.Float(53)),
    sa.Column("abandon_time", sa.Float(53)),
    sa.Column("result_key", sa.String),
    sa.Column("upload", _ID),
    sa.Column("traceparent", sa.String),
    sa.Column("cached_result", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("principal", "request_id", name="jobs_request"),
    sa.Index("jobs_queue", "state", "priority", "create_time", "id"),
    sa.Index("jobs_age", "create_time", "id"),
    sa.Index("jobs_result", "result_key"),
    sa.Index("jobs_principal", "state", "principal"),
    sa.Index("jobs_turn", "principal", "start_time"),
    sa.Index("jobs_upload", "upload"),
)


def _job_column(**options: Any) -> sa.Column[str]:
    key = sa.ForeignKey("jobs.id", ondelete="CASCADE")
    return sa.Column("job", _ID, key, **options)


labels = sa.Table(
    "labels",
    metadata,
    _job_column(primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
    sa.Index("labels_value", "key", "value"),
)

events = sa.Table(
    "events",
    metadata,
    _job_column(primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("time", sa.Float(53), nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    _job_column(nullable=False, index=True),
    sa.Column("sha256", sa.String, nullable=False, index=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("architecture", sa.Text, nullable=False),
    sa.Column("costs", sa.Text, nullable=False),
    sa.Column("create_time", sa.Float(53), nullable=False),
)

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("principal", sa.String, nullable=False),
    sa.Column("sha256", sa.String, nullable=False, index=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("architecture", sa.Text, nullable=False),
    sa.Column("costs", sa.Text, nullable=False),
    sa.Column("display_name", sa.String, nullable=False),
    sa.Column("create_time", sa.Float(53), nullable=False),
    sa.Column("expire_time", sa.Float(53), nullable=False, index=True),
    sa.UniqueConstraint("principal", "sha256", name="uploads_content"),
)

# Files that may have no other row, and when they can be removed.
loose_files = sa.Table(
    "loose_files",
    metadata,
    sa.Column("sha256", sa.String, primary_key=True),
    sa.Column("due_time", sa.Float(53), nullable=False, index=True),
    # When somebody began to remove it.
    sa.Column("claim_time", sa.Float(53)),
)

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    _job_column(primary_key=True),
    sa.Column("part", sa.String, primary_key=True),
    sa.Column("sha256", sa.String, nullable=False, index=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
)
