"""The contract of an `Executor`, run on each one, with real workers and a real store."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from sys import executable

import pytest

from archpress_server.config import ServerConfig
from archpress_server.executors.executor import Executor, Run
from archpress_server.executors.make import make_executor
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import EventKind, State, Submission
from tests.trainer.population.helpers import is_alive, ray_cluster

FAKE_WORKER = str(Path(__file__).parents[1] / "fake_worker.py")
COMMAND = (executable, FAKE_WORKER)
SLOTS = 3
MEMORY_BYTES = 250 * 2**20


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=pytest.mark.slow)])
def settings(request: pytest.FixtureRequest) -> Iterator[dict[str, object]]:
    """What makes a configuration use an implementation."""
    if request.param == "local":
        yield {}
        return
    # Found, not imported: Ray reads its settings when it is imported.
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    with ray_cluster(cpus=SLOTS) as (address, _):
        yield {"executor": "ray", "ray_address": address}


@pytest.fixture
def config(config: ServerConfig, settings: dict[str, object]) -> ServerConfig:
    update = {"workers": SLOTS, "worker_memory_bytes": MEMORY_BYTES, "worker_nice": 3, **settings}
    return ServerConfig.model_validate({**config.model_dump(), **update})


@pytest.fixture
async def executor(config: ServerConfig) -> AsyncIterator[Executor]:
    executor = make_executor(config, COMMAND)
    await executor.open()
    yield executor
    await executor.close()


@dataclass(frozen=True)
class Jobs:
    """Jobs of the store whose label `mode` says what their worker does."""

    leases: Leases
    submission: Submission

    def lease(self, mode: str) -> str:
        spec = replace(self.submission.spec, labels={"mode": mode})
        created = self.leases.store.create(replace(self.submission, spec=spec))
        leased = self.leases.lease_next("test")
        assert leased is not None
        assert leased.id == created.id
        return created.id

    def state(self, job: str) -> State:
        return self.leases.store.get(job).state

    async def begun(self, job: str) -> None:
        """Wait until the job's worker has written its first candidate."""
        store = self.leases.store
        await until(lambda: any(e.kind is EventKind.CANDIDATE for e in store.events_after(job, 0)))


@pytest.fixture
def jobs(leases: Leases, submission: Submission) -> Jobs:
    return Jobs(leases, submission)


async def until(happens: Callable[[], bool]) -> None:
    for _ in range(1200):
        if happens():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not happen in a minute")


def processes_of(job: str) -> list[int]:
    """Return the processes, workers and their children, with a job's id in their arguments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if job.encode() in arguments:
            found.append(int(folder.name))
    return found


async def cause(run: Run) -> str:
    end = await asyncio.wait_for(run.wait(), 60)
    assert end.began
    return end.cause


async def test_an_attempt_runs_to_its_end(executor: Executor, jobs: Jobs) -> None:
    assert executor.slots == SLOTS
    job = jobs.lease("succeed")
    run = await executor.start(job, 1)
    assert run.place
    assert await cause(run) == "the worker ended with exit code 0"
    assert jobs.state(job) is State.SUCCEEDED


async def test_a_crash_is_noticed_and_leaves_no_child(executor: Executor, jobs: Jobs) -> None:
    job = jobs.lease("parent")
    run = await executor.start(job, 1)
    seen: set[int] = set()

    def both() -> bool:
        seen.update(processes_of(job))
        return len(seen) >= 2

    await until(both)
    assert await cause(run) == "the worker was killed by signal 9"
    await until(lambda: not any(is_alive(pid) for pid in seen))
    assert jobs.state(job) is State.RUNNING


async def test_a_worker_is_killed_whatever_it_does(executor: Executor, jobs: Jobs) -> None:
    job = jobs.lease("stubborn")
    run = await executor.start(job, 1)
    await jobs.begun(job)
    run.kill()
    assert await cause(run) == "the worker was killed by signal 9"
    assert processes_of(job) == []
    # Too late is no error.
    run.stop()
    run.kill()


async def test_a_stopped_worker_gives_its_job_back(executor: Executor, jobs: Jobs) -> None:
    job = jobs.lease("wait")
    run = await executor.start(job, 1)
    await jobs.begun(job)
    run.stop()
    assert await cause(run) == "the worker ended with exit code 10"
    assert jobs.state(job) is State.QUEUED


async def test_too_much_memory_ends_the_worker_and_is_said(executor: Executor, jobs: Jobs) -> None:
    job = jobs.lease("greedy")
    text = await cause(await executor.start(job, 1))
    assert text.startswith("the worker used ")
    assert text.endswith(f"more than the {MEMORY_BYTES} of worker_memory_bytes")
    assert processes_of(job) == []


async def test_a_worker_shows_no_settings_and_stands_back(
    executor: Executor, jobs: Jobs, config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for waiting in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(waiting, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", str(config.threads_per_worker + 1))
    job = jobs.lease("wait")
    run = await executor.start(job, 1)
    await jobs.begun(job)
    (pid,) = processes_of(job)
    shown = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    assert str(config.state_dir).encode() not in shown
    assert f"OMP_NUM_THREADS={config.threads_per_worker}\0".encode() in shown
    assert b"GOMP_SPINCOUNT=100000\0" in shown
    # Ray itself lowers the priority of what it runs.
    assert os.getpriority(os.PRIO_PROCESS, pid) >= os.getpriority(os.PRIO_PROCESS, 0) + 3
    assert os.getsid(pid) == pid
    run.kill()
    await cause(run)


async def test_slots_are_filled_and_freed(executor: Executor, jobs: Jobs) -> None:
    running = []
    for _ in range(SLOTS):
        assert await executor.has_room()
        job = jobs.lease("wait")
        running.append((job, await executor.start(job, 1)))
    await asyncio.gather(*(jobs.begun(job) for job, _ in running))
    assert not await executor.has_room()
    first, run = running.pop()
    jobs.leases.store.request_cancel(first)
    assert await cause(run) == "the worker ended with exit code 0"
    assert jobs.state(first) is State.CANCELLED
    for _ in range(200):
        if await executor.has_room():
            break
        await asyncio.sleep(0.05)
    assert await executor.has_room()
    for job, _ in running:
        (pid,) = processes_of(job)
        os.kill(pid, signal.SIGTERM)
    assert {await cause(run) for _, run in running} == {"the worker ended with exit code 10"}
