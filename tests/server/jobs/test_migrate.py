"""Schemas: empty, older, newer and foreign databases, and two servers at once."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from archpress_server.config import ServerConfig
from archpress_server.jobs.database import Database
from archpress_server.jobs.errors import StoreSetupError
from archpress_server.jobs.migrate import VERSION_TABLE, upgrade
from archpress_server.jobs.model import State, Submission, new_id
from archpress_server.jobs.schema import metadata
from archpress_server.jobs.serialise import dumps, spec_to_json
from archpress_server.state import open_leases, prepare_state

pytestmark = pytest.mark.both_databases

PREPARE = """
import sys
from archpress_server.config import ServerConfig
from archpress_server.state import prepare_state
config = ServerConfig.model_validate_json(sys.stdin.readline())
print("ready", flush=True)
sys.stdin.readline()
prepare_state(config)
"""


def execute(config: ServerConfig, statement: str) -> None:
    database = Database(config.url)
    with database.write() as connection:
        connection.execute(sa.text(statement))
    database.close()


def test_the_migrated_schema_is_that_of_the_code(config: ServerConfig) -> None:
    prepare_state(config)
    database = Database(config.url)
    options = {"compare_server_default": True, "version_table": VERSION_TABLE}
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    database.close()


def test_jobs_of_an_older_schema_are_kept(config: ServerConfig, submission: Submission) -> None:
    config.state_dir.mkdir()
    database = Database(config.url)
    upgrade(database, "0001")
    values = {
        "id": new_id(),
        "principal": "",
        "request_digest": "",
        "state": "running",
        "priority": 0,
        "spec": dumps(spec_to_json(submission.spec)),
        "create_time": 1.0,
        "start_time": 2.0,
        "attempt": 1,
        "lost_attempts": 0,
        "last_seq": 2,
        "lease_until": 12.0,
        "attempt_start": 2.0,
        "run_seconds": 0.0,
        "max_run_seconds": 60.0,
    }
    names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    line = dumps({"severity": "info", "text": "early"})
    event = "INSERT INTO events VALUES (:id, 1, 1.0, 'log', :line)"
    with database.write() as connection:
        connection.execute(sa.text(f"INSERT INTO jobs ({names}) VALUES ({marks})"), values)
        connection.execute(sa.text(event), {"id": values["id"], "line": line})
    database.close()
    prepare_state(config)
    leases = open_leases(config)
    (record,) = leases.expire()
    assert (record.id, record.state, record.run_seconds) == (values["id"], State.QUEUED, 10.0)
    assert len(leases.store.events_after(record.id, 0)) == 3
    leases.store.database.close()


def test_a_newer_schema_is_refused(config: ServerConfig) -> None:
    prepare_state(config)
    execute(config, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(StoreSetupError, match=r"schema 9999.* up to \d{4}: run the newer server"):
        prepare_state(config)


def test_the_database_of_another_program_is_refused_and_left_alone(config: ServerConfig) -> None:
    config.state_dir.mkdir()
    execute(config, "CREATE TABLE jobs (id INTEGER)")
    with pytest.raises(StoreSetupError, match=r"other tables \(jobs\)"):
        prepare_state(config)
    database = Database(config.url)
    with database.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["jobs"]
    database.close()


def test_servers_that_start_together_all_start(config: ServerConfig) -> None:
    config.state_dir.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PREPARE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(config.model_dump_json() + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("\n")
    assert [process.returncode for process in processes] == [0, 0, 0]
    upgrade(database := Database(config.url))
    database.close()
