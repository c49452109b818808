"""An index by which a principal's last start is found."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the index."""
    op.create_index("jobs_turn", "jobs", ["principal", "start_time"])
