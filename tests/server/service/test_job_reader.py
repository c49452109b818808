"""Many calls are answered by few reads, each of which begins after the calls that it serves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest

from archpress_server.jobs.errors import DatabaseUnavailableError, JobNotFoundError
from archpress_server.jobs.model import JobRecord
from archpress_server.jobs.store import JobStore
from archpress_server.service.job_reader import JobReader


def reader_of(store: SlowStore) -> Any:
    """Return a reader whose answers are the store's, whatever they are."""
    return JobReader(cast(JobStore, store))


class SlowStore:
    """Reads only when it is let; a record stands for how often it was written."""

    def __init__(self) -> None:
        self.reads: list[list[str]] = []
        self.written = 0
        self.let = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.error: Exception | None = None

    def get_all(self, wanted: Sequence[str]) -> dict[str, JobRecord]:
        self.reads.append(list(wanted))
        found = {job: cast(JobRecord, self.written) for job in wanted if job != "nowhere"}
        self.begun.release()
        self.let.acquire(timeout=10)
        if self.error is not None:
            raise self.error
        return found


async def begun(store: SlowStore) -> None:
    await asyncio.to_thread(store.begun.acquire, timeout=10)


async def test_who_waits_is_served_by_one_read() -> None:
    store = SlowStore()
    reader = reader_of(store)
    first = asyncio.create_task(reader.get("a"))
    await begun(store)
    others = [asyncio.create_task(reader.get(job)) for job in ("b", "c", "b", "a")]
    await asyncio.sleep(0)
    store.let.release()
    store.let.release()
    assert await asyncio.gather(first, *others) == [0] * 5
    assert store.reads == [["a"], ["b", "c", "a"]]


async def test_a_call_is_never_served_by_a_read_before_it() -> None:
    store = SlowStore()
    reader = reader_of(store)
    before = asyncio.create_task(reader.get("a"))
    await begun(store)
    store.written = 1
    after = asyncio.create_task(reader.get("a"))
    await asyncio.sleep(0)
    store.let.release()
    store.let.release()
    assert (await before, await after) == (0, 1)


async def test_what_is_missing_is_told_to_those_who_asked() -> None:
    store = SlowStore()
    store.let.release()
    reader = reader_of(store)
    calls = (reader.get("a"), reader.get("nowhere"))
    answers: tuple[Any, Any] = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[0] == 0
    assert isinstance(answers[1], JobNotFoundError)


async def test_a_fault_reaches_all_and_the_next_call_reads_again() -> None:
    store = SlowStore()
    store.error = DatabaseUnavailableError("away")
    store.let.release()
    reader = reader_of(store)
    answers = await asyncio.gather(reader.get("a"), reader.get("b"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DatabaseUnavailableError] * 2
    store.error = None
    store.let.release()
    assert await reader.get("a") == 0


async def test_a_caller_who_leaves_takes_nobody_along() -> None:
    store = SlowStore()
    reader = reader_of(store)
    leaving, staying = (asyncio.create_task(reader.get("a")) for _ in range(2))
    await begun(store)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    store.let.release()
    assert await staying == 0
