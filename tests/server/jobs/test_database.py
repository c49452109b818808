"""What a PostgreSQL server does to connections, and what it lends: locks and its clock."""

from __future__ import annotations

import socket
import sys
import threading
import time

import pytest
import sqlalchemy as sa

from archpress_server.config import ServerConfig
from archpress_server.jobs.database import Database, Lock, lock
from archpress_server.jobs.errors import DatabaseUnavailableError, StoreSetupError
from archpress_server.jobs.leases import Leases, Signal
from archpress_server.jobs.model import Submission
from archpress_server.state import open_leases, prepare_state

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def test_connections_that_the_server_ended_are_replaced(
    leases: Leases, submission: Submission, postgresql: sa.Engine
) -> None:
    job = leases.store.create(submission).id
    with postgresql.connect() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> "
        connection.execute(sa.text(others + "pg_backend_pid() AND backend_type = 'client backend'"))
    assert leases.store.get(job).id == job


def test_a_server_that_does_not_answer_is_given_up(config: ServerConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres?connect_timeout=2"
        with pytest.raises(StoreSetupError, match="timeout"):
            prepare_state(config.model_copy(update={"database_url": url}))


def test_a_lock_that_is_held_for_long_is_given_up(config: ServerConfig, leases: Leases) -> None:
    impatient = Database(config.url, busy_timeout_seconds=0.1)
    with leases.store.database.write() as connection:
        lock(connection, Lock.LEASE)
        with impatient.write() as other:
            lock(other, Lock.CREATE)
        with pytest.raises(DatabaseUnavailableError), impatient.write() as other:
            lock(other, Lock.LEASE)
    with impatient.write() as other:
        lock(other, Lock.LEASE)
    impatient.close()


def test_a_read_sees_one_state_and_writes_nothing(leases: Leases, submission: Submission) -> None:
    count = sa.text("SELECT count(*) FROM jobs")
    with leases.store.database.read() as connection:
        assert connection.scalar(count) == 0
        thread = threading.Thread(target=leases.store.create, args=(submission,))
        thread.start()
        thread.join()
        assert connection.scalar(count) == 0
        with pytest.raises(sa.exc.InternalError, match="read-only"):
            connection.execute(sa.text("DELETE FROM jobs"))


def test_replicas_go_by_the_servers_clock(
    leases: Leases, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    leases.store.counts()
    assert leases.store.create(submission).create_time == pytest.approx(now, abs=60)


def test_a_missing_driver_says_what_to_install(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreSetupError, match=r"install archpress-server\[postgresql\]"):
        prepare_state(config)


@pytest.mark.parametrize("wrong_by", [3600.0, -3600.0])
def test_a_new_replica_whose_clock_is_wrong_takes_no_job(
    config: ServerConfig,
    leases: Leases,
    submission: Submission,
    monkeypatch: pytest.MonkeyPatch,
    wrong_by: float,
) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    wrong = time.time() + wrong_by
    monkeypatch.setattr(time, "time", lambda: wrong)
    new = open_leases(config)
    assert new.expire() == []
    assert leases.heartbeat(job, 1) is Signal.GO_ON
    new.store.database.close()


@pytest.mark.parametrize(
    "fault",
    [
        "SET TRANSACTION READ ONLY",
        "SET LOCAL idle_in_transaction_session_timeout = 50",
    ],
)
def test_a_standby_and_an_ended_transaction_are_unavailable(leases: Leases, fault: str) -> None:
    def write() -> None:
        with leases.store.database.write() as connection:
            connection.execute(sa.text(fault))
            time.sleep(0.3)
            connection.execute(sa.text("DELETE FROM jobs"))

    with pytest.raises(DatabaseUnavailableError):
        write()
    leases.store.counts()


def test_a_wrong_statement_is_no_outage(leases: Leases) -> None:
    with (
        pytest.raises(sa.exc.ProgrammingError),
        leases.store.database.write() as connection,
    ):
        connection.execute(sa.text("DELETE FROM nowhere"))
