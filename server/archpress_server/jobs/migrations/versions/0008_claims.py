"""When a server began to remove each loose file."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the column."""
    op.add_column("loose_files", sa.Column("claim_time", sa.Float(53)))
