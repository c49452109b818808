"""`Database`: how connections are opened, what a transaction sees, and what it locks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from archpress_server.jobs.clock import ServerClock
from archpress_server.jobs.errors import DatabaseUnavailableError, StoreSetupError
from archpress_trainer.error_text import first_line

_LOCK_CLASS = 0x61706A62  # "apjb", so that other programs on the database have other locks
_CONNECT_SECONDS = 5
_STATEMENT_SECONDS = 30
_POOL_SECONDS = 10


class Lock(IntEnum):
    """What transactions of several processes may not do at one time."""

    MIGRATE = 1
    CREATE = 2
    LEASE = 3
    FILES = 4
    """Shared by those who refer to files, not by those who remove them."""
    UPLOAD = 5


class Database:
    """An engine with transactions that are safe across processes.

    On SQLite a writing transaction takes the write lock when it begins, so that what it reads
    still holds when it writes. On PostgreSQL it sees what others commit meanwhile, and locks the
    rows that it changes or a `Lock`.
    """

    def __init__(self, url: str, *, busy_timeout_seconds: float = 15.0) -> None:
        """Open a database; no connection is made yet.

        Raises:
            StoreSetupError: the driver of the URL is not installed.
        """
        parsed = sa.make_url(url)
        try:
            if parsed.get_backend_name() == "sqlite":
                self.clock: Callable[[], float] = time.time
                self._engine = sa.create_engine(parsed)
                _prepare_sqlite(self._engine, busy_timeout_seconds)
            else:
                self.clock = ServerClock(self._touch)
                self._engine = _postgresql(parsed, busy_timeout_seconds)
        except ModuleNotFoundError as error:
            raise StoreSetupError(
                f"database_url needs the module {error.name}: install archpress-server[postgresql]"
            ) from error

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
                if not write and connection.dialect.name == "postgresql":
                    connection = connection.execution_options(
                        isolation_level="REPEATABLE READ", postgresql_readonly=True
                    )
                with connection.begin():
                    if isinstance(self.clock, ServerClock):
                        self.clock.look(connection)
                    yield connection
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            if not _is_unavailable(error):
                raise
            # The lines that follow have the statement, which may hold a caller's data.
            raise DatabaseUnavailableError(first_line(error)) from error

    def _touch(self) -> None:
        with self.read():
            pass


def _is_unavailable(error: sa.exc.DBAPIError | sa.exc.TimeoutError) -> bool:
    """Return whether another try may succeed, later or on another connection."""
    # PostgreSQL's for an idle transaction that it ended, or a server that became a standby.
    internal = sa.exc.InternalError
    kinds = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, internal)
    return isinstance(error, kinds) or error.connection_invalidated


def lock(connection: sa.Connection, what: Lock, *, shared: bool = False) -> None:
    """Wait for a lock and hold it to the transaction's end.

    On SQLite nothing is left to do: a writing transaction is alone.
    """
    if connection.dialect.name == "postgresql":
        take = sa.func.pg_advisory_xact_lock_shared if shared else sa.func.pg_advisory_xact_lock
        connection.execute(sa.select(take(_LOCK_CLASS, int(what))))


def _postgresql(url: sa.URL, lock_timeout_seconds: float) -> sa.Engine:
    """Open PostgreSQL such that neither a dead nor a busy server holds a call for long."""
    limits = {
        "statement_timeout": _STATEMENT_SECONDS,
        "lock_timeout": lock_timeout_seconds,
        # A replica that hangs in a transaction must not hold its locks for ever.
        "idle_in_transaction_session_timeout": _STATEMENT_SECONDS,
    }
    options = [f"-c {name}={round(seconds * 1000)}" for name, seconds in limits.items()]
    arguments: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }
    given = {name: value for name, value in url.query.items() if isinstance(value, str)}
    # What the URL says comes last, and so wins.
    options.append(given.pop("options", ""))
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={**arguments, **given, "options": " ".join(options)},
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_timeout=_POOL_SECONDS,
    )


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
