"""What only `RayExecutor` does: what it refuses, and workers that have no place."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from archpress_server.config import ServerConfig
from archpress_server.executors.executor import End, ExecutorError
from archpress_server.executors.order import worker_order
from archpress_server.executors.ray_executor import RayExecutor, RayRun
from archpress_server.threads import Threads
from tests.trainer.population.helpers import descendants, ray_cluster

SLEEPS = (sys.executable, "-c", "import time; time.sleep(60)")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, int]]:
    with ray_cluster(cpus=1) as address_and_pid:
        yield address_and_pid


@pytest.fixture
def config(config: ServerConfig, cluster: tuple[str, int]) -> ServerConfig:
    update = {"executor": "ray", "ray_address": cluster[0], "workers": 2}
    return config.model_copy(update=update)


@pytest.fixture
async def executor(config: ServerConfig) -> AsyncIterator[RayExecutor]:
    executor = RayExecutor(config, SLEEPS)
    await executor.open()
    yield executor
    await executor.close()


async def workers(cluster: tuple[str, int]) -> list[int]:
    """Wait for a worker's process, and return its number."""
    while True:
        found = [pid for pid, command in descendants(cluster[1]) if b"--attempt" in command]
        if found:
            return found
        await asyncio.sleep(0.05)


async def test_a_full_cluster_has_no_room_and_costs_no_attempt(
    executor: RayExecutor, cluster: tuple[str, int]
) -> None:
    first = await executor.start("a", 1)
    await workers(cluster)
    while await executor.has_room():
        await asyncio.sleep(0.05)
    # As if another server had been quicker.
    second = await executor.start("b", 1)
    second.stop()
    end = await second.wait()
    assert not end.began
    first.kill()
    assert (await first.wait()).cause == "the worker was killed by signal 9"


async def test_an_actor_that_dies_is_a_lost_attempt(
    executor: RayExecutor, cluster: tuple[str, int]
) -> None:
    run = await executor.start("a", 1)

    (worker,) = await workers(cluster)
    for pid, command in descendants(cluster[1]):
        if b"ray::RayWorker" in command:
            os.kill(pid, signal.SIGKILL)
    end = await asyncio.wait_for(run.wait(), 60)
    assert end.began
    assert end.cause.startswith("its Ray actor is gone: ")
    os.kill(worker, signal.SIGKILL)
    while not await executor.has_room():
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("update", "text"),
    [
        ({"ray_address": "ray://localhost:10001"}, "address of Ray Client"),
        ({"ray_address": "127.0.0.1:1"}, "cannot connect to Ray at 127.0.0.1:1: "),
        (
            {"ray_gpus_per_worker": 0.5},
            "the Ray cluster has 1 CPUs and 0 GPUs, and one worker needs 1 (threads_per_worker) "
            "and 0.5 (ray_gpus_per_worker)",
        ),
        ({"threads_per_worker": 2}, "one worker needs 2 (threads_per_worker)"),
    ],
)
async def test_a_cluster_that_cannot_serve_is_refused_at_once(
    config: ServerConfig, update: dict[str, object], text: str
) -> None:
    executor = RayExecutor(config.model_copy(update=update))
    with pytest.raises(ExecutorError) as refused:
        await executor.open()
    assert text in str(refused.value)


def test_a_server_without_ray_says_so_in_one_line(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import sys; sys.modules['ray'] = None\n"
        "from archpress_server.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    flags = ["--executor", "ray", "--port", "0", "--metrics-port", "0"]
    flags += ["--state-dir", str(config.state_dir), "--log-level", "error"]
    run = subprocess.run(
        [sys.executable, "-c", program, *flags], check=False, capture_output=True, text=True
    )
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert "install archpress-trainer[ray]" in line


def test_a_local_server_does_not_import_ray(tmp_path: Path) -> None:
    program = "import sys, archpress_server.server; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def answering(value: object) -> SimpleNamespace:
    """Return an actor's method that answers at once."""
    future: Future[object] = Future()
    future.set_result(value)
    return SimpleNamespace(remote=lambda *_: SimpleNamespace(future=lambda: future))


async def test_an_actor_that_cannot_be_killed_keeps_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    def fail(actor: object) -> None:
        raise ray.exceptions.RayError("Ray has not been started yet")

    monkeypatch.setattr(ray, "kill", fail)
    actor = SimpleNamespace(ready=answering(None), run=answering("the worker ended"))
    order = worker_order(ServerConfig(), "a", 1, ())
    released: list[bool] = []
    run = RayRun(ray, Threads("test"), actor, order, False, lambda: released.append(True))
    assert await run.wait() == End("the worker ended")
    assert released == [True]
