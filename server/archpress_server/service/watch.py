"""`Watches`: follows jobs' logs for any number of streams, reading each event once for all."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import structlog

from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.jobs.errors import DatabaseUnavailableError, StoreError
from archpress_server.jobs.store import JobStore
from archpress_server.logs import log_unexpected
from archpress_server.metrics import Metrics
from archpress_server.service.convert_job import event_to_proto, heartbeat_to_proto
from archpress_server.service.errors import DrainingError
from archpress_server.threads import Threads

_RENEW_SECONDS = 5.0
_CLOSE_SECONDS = 5.0
_TAIL = 32
"""Events of a watched job that are kept in memory."""


class _Feed:
    """The newest events of a job's log, for all streams that are nearly up to date."""

    def __init__(self) -> None:
        self.watchers: set[asyncio.Event] = set()
        self.last_seq: int | None = None
        self._tail: deque[pb.JobEvent] = deque()
        self._begin = 0

    def add(self, events: Iterable[pb.JobEvent], after_seq: int) -> None:
        """Take in what the log holds after a number: that of the last event known, if any is."""
        if self.last_seq is None:
            self.last_seq = self._begin = after_seq
        for event in events:
            self.last_seq = event.seq
            self._tail.append(event)
            if len(self._tail) > _TAIL:
                self._begin = self._tail.popleft().seq

    def forget(self) -> None:
        """Leave all to the database."""
        self.last_seq = None
        self._tail.clear()

    def after(self, seq: int) -> list[pb.JobEvent] | None:
        """Return the events after a number; None if that is for the database to tell."""
        if self.last_seq is None or seq < self._begin:
            return None
        return [event for event in self._tail if event.seq > seq]

    def wake(self) -> None:
        """Let the streams look again."""
        for news in self.watchers:
            news.set()


class Watches:
    """The open streams of one server.

    What a stream has not sent yet is in the database, and only the newest of it in memory, so a
    slow watcher costs none.
    """

    def __init__(self, store: JobStore, metrics: Metrics, poll_seconds: float) -> None:
        """Follow the jobs of a store, looking for news every `poll_seconds`."""
        self._store = store
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._feeds: dict[str, _Feed] = {}
        self._threads = Threads("watches")
        self._closing = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for news."""
        self._poller = asyncio.create_task(self._poll(), name="watches")

    async def close(self) -> None:
        """End every stream with `DrainingError`."""
        self._closing.set()
        for feed in self._feeds.values():
            feed.wake()
        if self._poller is not None:
            # To its end, not cancelled: its thread would go on with a connection to the database.
            await asyncio.wait([self._poller], timeout=_CLOSE_SECONDS)

    async def follow(
        self, job: str, after_seq: int, heartbeat_seconds: float
    ) -> AsyncIterator[pb.JobEvent]:
        """Yield a job's events after a number, up to `completed`, with heartbeats in silences.

        Raises:
            DrainingError: the server shuts down.
            JobNotFoundError: the job is gone.
        """
        news = asyncio.Event()
        feed = self._feeds.setdefault(job, _Feed())
        feed.watchers.add(news)
        self._metrics.watch_streams.inc()
        renewal: asyncio.Task[None] | None = None
        try:
            if await self._threads.run(self._store.is_abandonable, job):
                renewal = asyncio.create_task(self._renew(job))
            while True:
                if self._closing.is_set():
                    raise DrainingError
                news.clear()
                found = feed.after(after_seq)
                if found is None:
                    found = await self._threads.run(self._read, job, after_seq)
                self._metrics.watch_lag.set(len(found))
                for event in coalesced(found):
                    after_seq = event.seq
                    yield event
                    if event.HasField("completed"):
                        return
                if not found and not await _wait(news, heartbeat_seconds):
                    record = await self._threads.run(self._store.get, job)
                    yield heartbeat_to_proto(record, time.time())
        finally:
            self._metrics.watch_streams.dec()
            feed.watchers.discard(news)
            if not feed.watchers:
                del self._feeds[job]
            if renewal is not None:
                # What it said last holds on, for somebody may watch at another server.
                renewal.cancel()

    async def _renew(self, job: str) -> None:
        while True:
            with contextlib.suppress(StoreError):
                await self._threads.run(self._store.watched, job, renew_seconds=2 * _RENEW_SECONDS)
            await asyncio.sleep(_RENEW_SECONDS)

    async def _poll(self) -> None:
        while not await _wait(self._closing, self._poll_seconds):
            try:
                if self._feeds:
                    await self._look(dict(self._feeds))
            except StoreError as error:
                structlog.get_logger().error("the job store fails", error=str(error))
                await _wait(self._closing, 1.0)
            except Exception as error:
                log_unexpected("the look for news fails", error)
                await _wait(self._closing, 1.0)

    async def _look(self, feeds: Mapping[str, _Feed]) -> None:
        seqs = await self._threads.run(self._store.last_seqs, list(feeds))
        for job, feed in feeds.items():
            seq = seqs.get(job)
            if seq == feed.last_seq:
                continue
            after = max(0, (seq or 0) - _TAIL) if feed.last_seq is None else feed.last_seq
            try:
                feed.add(await self._threads.run(self._read, job, after), after)
            except DatabaseUnavailableError:
                raise
            except Exception:
                # Its streams find out by themselves what is wrong; those of other jobs go on.
                feed.forget()
            feed.wake()

    def _read(self, job: str, after_seq: int) -> list[pb.JobEvent]:
        return [event_to_proto(event) for event in self._store.events_after(job, after_seq)]


def coalesced(events: Sequence[pb.JobEvent]) -> list[pb.JobEvent]:
    """Return events without the progress that newer progress among them outdates."""
    kept: list[pb.JobEvent] = []
    newer = False
    for event in reversed(events):
        if event.HasField("progress"):
            if newer:
                continue
            newer = True
        kept.append(event)
    return kept[::-1]


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
