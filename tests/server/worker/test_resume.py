"""A real worker is killed or stopped in the middle of a training; the next one goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from archpress_server.catalog import load_catalog
from archpress_server.compress.types import Budget, Phase, Progress, Request
from archpress_server.config import ServerConfig
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import JobRecord, JobSpec, State, Submission
from archpress_server.jobs.schema import checkpoints
from archpress_server.server import Server
from archpress_server.state import prepare_state
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import batch_norm, conv, global_average_pool, linear, relu

pytestmark = pytest.mark.slow

LAYERS = (
    *(conv(48, 3), batch_norm(), relu()),
    *(conv(48, 3), batch_norm(), relu()),
    *(global_average_pool(), linear(4)),
)
BUDGET = Budget(max_params=5_000)
REQUEST = Request(Architecture((1, 12, 12), 4, LAYERS), "tiny", BUDGET, training_seeds=3)
MIDDLE = 0.4
"""Share of the progress at which the candidates are trained in full."""


@pytest.fixture
def config(config: ServerConfig, tiny_embedding: Path, tiny_dataset: Path) -> ServerConfig:
    update = {"embeddings_dir": (tiny_embedding,), "dataset_files": {"tiny": tiny_dataset}}
    return config.model_copy(update=update)


@asynccontextmanager
async def serving(config: ServerConfig) -> AsyncIterator[Leases]:
    await asyncio.to_thread(prepare_state, config)
    server = Server(config, load_catalog(config), warm=False)
    await server.start()
    try:
        yield server.leases
    finally:
        await server.stop()


def create(leases: Leases) -> str:
    return leases.store.create(Submission(JobSpec(REQUEST, embedding="tiny-default-1"))).id


async def until(leases: Leases, job: str, done: Callable[[JobRecord], bool]) -> JobRecord:
    for _ in range(2400):
        record = leases.store.get(job)
        if done(record):
            return record
        assert not record.state.final, record.error
        await asyncio.sleep(0.05)
    raise AssertionError(f"the job is still {record.state} in attempt {record.attempt}")


def is_final(record: JobRecord) -> bool:
    return record.state.final


def has_trained(share: float) -> Callable[[JobRecord], bool]:
    def done(record: JobRecord) -> bool:
        progress = record.progress
        return (
            progress is not None
            and progress.phase is Phase.RETRAIN
            and progress.step >= share * progress.total_steps
        )

    return done


def pid_of(job: str) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if job.encode() in arguments and b"archpress_server.worker" in arguments:
                return int(entry.name)
    raise AssertionError("there is no worker")


def sha256_of(leases: Leases, record: JobRecord) -> str:
    assert record.state is State.SUCCEEDED, record.error
    assert record.result is not None
    return leases.store.artifact(record.result.artifact).sha256


def first_step(leases: Leases, job: str) -> int:
    """Return where the training of the last attempt was when it was first told."""
    payloads = [event.payload for event in leases.store.events_after(job, 0)]
    begins = [
        place
        for place, payload in enumerate(payloads)
        if isinstance(payload, JobRecord) and payload.state is State.RUNNING
    ]
    steps = (
        payload.step
        for payload in payloads[begins[-1] :]
        if isinstance(payload, Progress) and payload.phase is Phase.RETRAIN
    )
    return next(steps)


async def test_a_training_that_is_interrupted_costs_seconds_and_no_bit(
    config: ServerConfig,
) -> None:
    often = config.model_copy(update={"checkpoint_seconds": 0.05})
    # No checkpoint is due by itself: what there is, the server that drains has kept.
    seldom = config.model_copy(update={"checkpoint_seconds": 1000.0, "drain_grace_seconds": 20.0})
    async with serving(often) as leases:
        undisturbed = sha256_of(leases, await until(leases, create(leases), is_final))
        job = create(leases)
        await until(leases, job, has_trained(MIDDLE))
        os.kill(pid_of(job), signal.SIGKILL)
        await until(leases, job, lambda record: record.attempt == 2)
        record = await until(leases, job, is_final)
        assert record.attempt == 2
        assert sha256_of(leases, record) == undisturbed
        with leases.store.database.read() as connection:
            assert connection.scalars(sa.select(checkpoints.c.job)).all() == []
    async with serving(seldom) as leases:
        job = create(leases)
        stopped_at = (await until(leases, job, has_trained(MIDDLE))).progress
    assert stopped_at is not None
    async with serving(seldom) as leases:
        record = await until(leases, job, is_final)
        assert (record.attempt, sha256_of(leases, record)) == (2, undisturbed)
        assert first_step(leases, job) >= stopped_at.step
