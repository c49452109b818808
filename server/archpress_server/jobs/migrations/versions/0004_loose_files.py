"""Files that may have no other row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "loose_files",
        sa.Column("sha256", sa.String, primary_key=True),
        sa.Column("due_time", sa.Float(53), nullable=False),
    )
    op.create_index("ix_loose_files_due_time", "loose_files", ["due_time"])
