"""What a job's next attempt goes on with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table."""
    key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.create_table(
        "checkpoints",
        sa.Column("job", key, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("part", sa.String, primary_key=True),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
    )
    op.create_index("ix_checkpoints_sha256", "checkpoints", ["sha256"])
