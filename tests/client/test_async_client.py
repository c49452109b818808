"""What only the client for asyncio does; the rest it shares with the other, in test_client.py."""

from __future__ import annotations

import asyncio
import inspect
import time
from pathlib import Path
from typing import Any

import pytest

from archpress_client import (
    AsyncClient,
    AsyncJobHandle,
    Client,
    ClientClosedError,
    JobHandle,
    Retry,
    Timeouts,
    UnavailableError,
    UnsupportedError,
)
from archpress_client._asyncio_wire import AsyncioWire
from tests.client.scripted import ScriptedServer


def test_many_tasks_share_a_client_and_none_blocks(server: ScriptedServer) -> None:
    async def main() -> tuple[list[float], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        async with AsyncClient(server.target) as client:
            ticking = asyncio.create_task(tick())

            async def compress() -> float:
                job = await client.compress("conv-7", dataset="fashion-mnist")
                return (await job.result()).accuracy

            accuracies = await asyncio.gather(*(compress() for _ in range(6)))
            ticking.cancel()
        return accuracies, ticks

    accuracies, ticks = asyncio.run(main())
    assert accuracies == [0.9312] * 6
    assert ticks > 3


def test_a_cancelled_task_ends_its_stream_and_not_the_job(server: ScriptedServer) -> None:
    server.script.never_ends = True

    async def main() -> None:
        async with AsyncClient(server.target) as client:
            job = await client.compress("conv-7", dataset="fashion-mnist")
            waiting = asyncio.create_task(job.result())
            await asyncio.sleep(0.2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await job.result()
            await job.status()

    asyncio.run(main())
    assert server.asked("CancelJob") == []


def test_a_cancelled_download_leaves_no_file(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def slow(path: Path, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.3)
        return real(path, *args, **kwargs)

    async def main() -> None:
        async with AsyncClient(server.target) as client:
            result = await (await client.compress("conv-7", dataset="fashion-mnist")).result()
            monkeypatch.setattr(Path, "open", slow)
            task = asyncio.create_task(client.download(result, tmp_path / "small.onnx"))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    # Its end waits for the thread that opens the file.
    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []


def test_closing_ends_what_waits(server: ScriptedServer) -> None:
    server.script.never_ends = True

    async def main() -> None:
        client = AsyncClient(server.target)
        job = await client.compress("conv-7", dataset="fashion-mnist")
        waiting = asyncio.create_task(job.result())
        await asyncio.sleep(0.2)
        await client.close()
        with pytest.raises(ClientClosedError):
            await waiting

    asyncio.run(main())


def test_a_silent_stream_is_given_up(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Timeouts, "watch_silence_seconds", 0.2)
    server.script.hang = True

    async def main() -> None:
        retry = Retry(initial_seconds=0.01, stream_attempts=1)
        async with AsyncClient(server.target, retry=retry) as client:
            job = await client.compress("conv-7", dataset="fashion-mnist")
            begin = time.monotonic()
            with pytest.raises(UnavailableError, match="nothing came"):
                await job.result()
            assert time.monotonic() - begin < 5

    asyncio.run(main())


def test_one_client_serves_one_event_loop_after_another(server: ScriptedServer) -> None:
    client = AsyncClient(server.target)

    async def ask() -> str:
        return (await client.info()).server_version

    async def ask_and_close() -> str:
        async with client:
            return await ask()

    assert asyncio.run(ask()) == asyncio.run(ask_and_close()) == "0.1.0"


def test_results_say_how_they_are_fetched(server: ScriptedServer, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncClient(server.target) as client:
            result = await (await client.compress("conv-7", dataset="fashion-mnist")).result()
            with pytest.raises(UnsupportedError, match=r"await client\.download\(model, "):
                result.save(tmp_path / "small.onnx")
            with pytest.raises(UnsupportedError, match=r"await client\.read"):
                result.model_bytes()

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []


def test_a_forgotten_client_is_told(server: ScriptedServer) -> None:
    async def main() -> None:
        async with AsyncClient(server.target) as client:
            await client.info()
            with pytest.warns(ResourceWarning, match="not closed"):
                AsyncioWire.__del__(client._wire)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("blocking", "asynchronous"), [(Client, AsyncClient), (JobHandle, AsyncJobHandle)]
)
def test_both_clients_have_the_same_methods_and_arguments(
    blocking: type, asynchronous: type
) -> None:
    assert _public(blocking) == _public(asynchronous)
    for name in _public(blocking):
        if callable(getattr(blocking, name)):
            here, there = (
                inspect.signature(getattr(kind, name)).parameters
                for kind in (blocking, asynchronous)
            )
            assert here == there, name


def _public(kind: type) -> list[str]:
    return sorted(name for name in vars(kind) if not name.startswith("_"))
