"""What only `LocalExecutor` does: GPUs, and a system that starts no process."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from archpress_server.config import ServerConfig
from archpress_server.executors.executor import ExecutorError, Run
from archpress_server.executors.local_executor import LocalExecutor
from archpress_server.executors.process import WorkerProcess
from tests.trainer.population.helpers import is_alive

# A worker that writes down what it sees: "-c" takes the flags after it as its arguments.
SEES = (
    "import os, sys; open(os.environ['SEEN'], 'a').write(os.environ['CUDA_VISIBLE_DEVICES'] + ' ')"
)


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "seen"
    path.touch()
    monkeypatch.setenv("SEEN", str(path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "all")
    return path


async def ended(run: Run) -> None:
    assert (await run.wait()).cause == "the worker ended with exit code 0"


async def test_each_worker_has_a_gpu_of_its_own_in_turn(config: ServerConfig, seen: Path) -> None:
    config = config.model_copy(update={"workers": 2, "worker_gpus": ("3", "GPU-5a", "7")})
    executor = LocalExecutor(config, (sys.executable, "-c", SEES))
    first, second = await executor.start("a", 1), await executor.start("b", 1)
    assert not await executor.has_room()
    await ended(first)
    await ended(second)
    assert sorted(seen.read_text().split()) == ["3", "GPU-5a"]
    for job in ("c", "d"):
        await ended(await executor.start(job, 1))
    used = seen.read_text().split()
    # The one that was never used comes first, then that which has been free for longest.
    assert used[2] == "7"
    assert used[3] in ("3", "GPU-5a")


async def test_without_gpus_named_the_environment_is_left_alone(
    config: ServerConfig, seen: Path
) -> None:
    await ended(await LocalExecutor(config, (sys.executable, "-c", SEES)).start("a", 1))
    assert seen.read_text() == "all "


async def test_a_system_that_starts_no_process_costs_no_slot(
    config: ServerConfig, tmp_path: Path
) -> None:
    config = config.model_copy(update={"worker_gpus": ("0",)})
    executor = LocalExecutor(config, (str(tmp_path / "nothing"),))
    for _ in range(2):
        with pytest.raises(ExecutorError, match=r"the system starts no process: .*nothing"):
            await executor.start("a", 1)
        assert await executor.has_room()


async def test_settings_larger_than_a_pipe_reach_the_worker(
    config: ServerConfig, tmp_path: Path
) -> None:
    folders = tuple(Path(f"/embeddings/{index:06}") for index in range(20_000))
    config = config.model_copy(update={"embeddings_dir": folders})
    read = f"import sys; open({str(tmp_path / 'read')!r}, 'w').write(sys.stdin.read())"
    await ended(await LocalExecutor(config, (sys.executable, "-c", read)).start("a", 1))
    assert (tmp_path / "read").read_text() == config.model_dump_json()


async def test_a_worker_that_cannot_be_waited_for_ends_and_frees_its_slot(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(process: WorkerProcess) -> str:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(WorkerProcess, "wait", wait)
    executor = LocalExecutor(config, (sys.executable, "-c", "import time; time.sleep(60)"))
    run = await executor.start("a", 1)
    cause = (await asyncio.wait_for(run.wait(), 10)).cause
    assert cause == "the worker could not be waited for: can't start new thread"
    assert await executor.has_room()
    assert not is_alive(int(run.place.removeprefix("pid ")))


async def test_a_system_that_starts_no_thread_costs_no_slot(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = LocalExecutor(config, (sys.executable, "-c", SEES))
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name.startswith("pid "):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(ExecutorError, match="can't start new thread"):
        await executor.start("a", 1)
    assert await executor.has_room()
