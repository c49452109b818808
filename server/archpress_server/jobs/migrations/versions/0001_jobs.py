"""Jobs with labels, events and artifacts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIME = sa.Float(53)
_ID = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "jobs",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("principal", sa.String, nullable=False),
        sa.Column("request_id", sa.String),
        sa.Column("request_digest", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("start_time", _TIME),
        sa.Column("end_time", _TIME),
        sa.Column("expire_time", _TIME),
        sa.Column("cancel_time", _TIME),
        sa.Column("delete_time", _TIME),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("lost_attempts", sa.Integer, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("progress", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("worker", sa.String),
        sa.Column("lease_until", _TIME),
        sa.Column("attempt_start", _TIME),
        sa.Column("run_seconds", _TIME, nullable=False),
        sa.Column("max_run_seconds", _TIME, nullable=False),
        sa.Column("queue_deadline", _TIME),
        sa.Column("abandon_grace_seconds", _TIME),
        sa.Column("abandon_time", _TIME),
        sa.UniqueConstraint("principal", "request_id", name="jobs_request"),
    )
    op.create_index("jobs_queue", "jobs", ["state", "priority", "create_time", "id"])
    op.create_index("jobs_age", "jobs", ["create_time", "id"])
    op.create_table(
        "labels",
        _job_column(primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
    op.create_index("labels_value", "labels", ["key", "value"])
    op.create_table(
        "events",
        _job_column(primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
    )
    op.create_table(
        "artifacts",
        sa.Column("id", _ID, primary_key=True),
        _job_column(nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("architecture", sa.Text, nullable=False),
        sa.Column("costs", sa.Text, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
    )
    op.create_index("ix_artifacts_job", "artifacts", ["job"])
    op.create_index("ix_artifacts_sha256", "artifacts", ["sha256"])


def _job_column(*, primary_key: bool = False, nullable: bool = False) -> sa.Column[str]:
    key = sa.ForeignKey("jobs.id", ondelete="CASCADE")
    return sa.Column("job", _ID, key, primary_key=primary_key, nullable=nullable)
