"""Run time that is counted from heartbeat to heartbeat."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Rename the column; on SQLite Alembic's own way would make the table anew."""
    op.execute("ALTER TABLE jobs RENAME COLUMN attempt_start TO run_counted_until")
