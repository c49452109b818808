"""Uploaded models, and which job needs which."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ID = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table and the column."""
    op.create_table(
        "uploads",
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
    op.add_column("jobs", sa.Column("upload", _ID))
    op.create_index("jobs_upload", "jobs", ["upload"])
