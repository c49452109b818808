"""The server is killed with -9: its jobs go on, end, or start again; none is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from archpress_server.catalog import load_catalog
from archpress_server.config import ServerConfig
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import EventKind, JobRecord, State, Submission
from archpress_server.jobs.schema import jobs
from archpress_server.server import Server

FAKE_WORKER = str(Path(__file__).parent / "fake_worker.py")
SCRIPT = """
import asyncio, sys
from archpress_server.catalog import load_catalog
from archpress_server.config import ServerConfig
from archpress_server.server import Server

async def main():
    config = ServerConfig.model_validate_json(sys.argv[1])
    server = Server(
        config, load_catalog(config), worker_command=(sys.executable, sys.argv[2]), warm=False
    )
    await server.start()
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def config(config: ServerConfig) -> ServerConfig:
    return config.model_copy(update={"lease_seconds": 4.0})


async def until(leases: Leases, job: str, done: Callable[[JobRecord], bool]) -> JobRecord:
    for _ in range(600):
        record = leases.store.get(job)
        if done(record):
            return record
        await asyncio.sleep(0.05)
    raise AssertionError(f"the job is still {record.state} in attempt {record.attempt}")


def has_candidate(leases: Leases, job: str) -> bool:
    return any(e.kind is EventKind.CANDIDATE for e in leases.store.events_after(job, 0))


async def crash(config: ServerConfig, leases: Leases, submission: Submission, mode: str) -> str:
    """Let a server begin a job, kill it, and return the job's id."""
    spec = replace(submission.spec, labels={"mode": mode})
    job = leases.store.create(replace(submission, spec=spec)).id
    arguments = [sys.executable, "-c", SCRIPT, config.model_dump_json(), FAKE_WORKER]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    try:
        await until(leases, job, lambda _: has_candidate(leases, job))
    finally:
        process.kill()
        process.wait()
    return job


async def restarted(config: ServerConfig) -> Server:
    command = (sys.executable, FAKE_WORKER)
    server = Server(config, load_catalog(config), worker_command=command, warm=False)
    await server.start()
    return server


async def test_the_worker_goes_on_without_its_server(
    config: ServerConfig, leases: Leases, submission: Submission
) -> None:
    job = await crash(config, leases, submission, "wait")
    server = await restarted(config)
    await asyncio.sleep(2 * config.lease_seconds)
    record = leases.store.get(job)
    assert (record.state, record.attempt) == (State.RUNNING, 1)
    leases.store.request_cancel(job)
    record = await until(leases, job, lambda record: record.state.final)
    assert (record.state, record.attempt) == (State.CANCELLED, 1)
    await server.stop()


async def test_a_job_that_lost_server_and_worker_starts_again(
    config: ServerConfig, leases: Leases, submission: Submission
) -> None:
    job = await crash(config, leases, submission, "wait-once")
    for pid in workers_of(job):
        os.kill(pid, signal.SIGKILL)
    server = await restarted(config)
    record = await until(leases, job, lambda record: record.state.final)
    assert (record.state, record.attempt) == (State.SUCCEEDED, 2)
    expired = "archpress_job_lease_expired_total"
    assert server.metrics.registry.get_sample_value(expired) == 1
    await server.stop()
    with leases.store.database.read() as connection:
        assert connection.scalar(sa.select(jobs.c.lost_attempts)) == 1


def workers_of(job: str) -> list[int]:
    """Return the processes that have a job's id in their arguments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if FAKE_WORKER.encode() in arguments and job.encode() in arguments:
            found.append(int(folder.name))
    return found
