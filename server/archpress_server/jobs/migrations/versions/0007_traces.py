"""The span that each job was created in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the column."""
    op.add_column("jobs", sa.Column("traceparent", sa.String))
