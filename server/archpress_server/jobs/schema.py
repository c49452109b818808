"""The tables, and how connections to them are opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from archpress_server.jobs.errors import DatabaseUnavailableError, StoreSetupError

SCHEMA_VERSION = 1

metadata = sa.MetaData()

schema_version = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer))

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
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
    sa.Column("attempt_start", sa.Float(53)),
    sa.Column("run_seconds", sa.Float(53), nullable=False, default=0.0),
    sa.Column("max_run_seconds", sa.Float(53), nullable=False),
    sa.Column("queue_deadline", sa.Float(53)),
    sa.Column("abandon_grace_seconds", sa.Float(53)),
    sa.Column("abandon_time", sa.Float(53)),
    sa.UniqueConstraint("principal", "request_id", name="jobs_request"),
    sa.Index("jobs_queue", "state", "priority", "create_time", "id"),
    sa.Index("jobs_age", "create_time", "id"),
)


def _job_column(**options: Any) -> sa.Column[str]:
    key = sa.ForeignKey("jobs.id", ondelete="CASCADE")
    return sa.Column("job", sa.String, key, **options)


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
    sa.Column("id", sa.String, primary_key=True),
    _job_column(nullable=False, index=True),
    sa.Column("sha256", sa.String, nullable=False, index=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("architecture", sa.Text, nullable=False),
    sa.Column("costs", sa.Text, nullable=False),
    sa.Column("create_time", sa.Float(53), nullable=False),
)


class Database:
    """An engine with transactions that are safe across processes.

    On SQLite a writing transaction takes the write lock when it begins, so that what it reads
    still holds when it writes; elsewhere the rows that it reads are locked.
    """

    def __init__(self, url: str, *, busy_timeout_seconds: float = 15.0) -> None:
        """Open a database; no connection is made yet."""
        self._engine = sa.create_engine(url, pool_pre_ping=True)
        if self._engine.dialect.name == "sqlite":
            _prepare_sqlite(self._engine, busy_timeout_seconds)

    def create_tables(self) -> None:
        """Create the tables that are missing.

        Raises:
            StoreSetupError: the database cannot be written or is of another version.
        """
        try:
            with self.write() as connection:
                metadata.create_all(connection)
                versions = connection.scalars(sa.select(schema_version.c.version)).all()
                if not versions:
                    connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))
                elif list(versions) != [SCHEMA_VERSION]:
                    raise StoreSetupError(
                        f"the database has schema version {versions[0]}, "
                        f"this server needs {SCHEMA_VERSION}"
                    )
        except (DatabaseUnavailableError, sa.exc.SQLAlchemyError) as error:
            raise StoreSetupError(f"the database cannot be used: {_first_line(error)}") from error

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Yield a connection in a writing transaction, committed at the end."""
        with self._transaction(write=True) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Yield a connection with one consistent view."""
        with self._transaction(write=False) as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                connection = connection.execution_options(archpress_write=write)
                with connection.begin():
                    yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
            raise DatabaseUnavailableError(_first_line(error)) from error


def _prepare_sqlite(engine: sa.Engine, busy_timeout_seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # The driver would begin transactions by itself, and too late.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {round(busy_timeout_seconds * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("archpress_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
