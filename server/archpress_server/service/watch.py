"""`Watches`: follows jobs' logs for any number of streams with one query at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence

import structlog

from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.jobs.errors import StoreError
from archpress_server.jobs.model import Event, EventKind
from archpress_server.jobs.store import JobStore
from archpress_server.metrics import Metrics
from archpress_server.service.convert import event_to_proto, heartbeat_to_proto
from archpress_server.service.errors import DrainingError

_RENEW_SECONDS = 5.0


class Watches:
    """The open streams of one server.

    The database holds what a stream has not sent yet, so a slow watcher costs no memory.
    """

    def __init__(self, store: JobStore, metrics: Metrics, poll_seconds: float) -> None:
        """Follow the jobs of a store, looking for news every `poll_seconds`."""
        self._store = store
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._seqs: dict[str, int] = {}
        self._closing = False
        self._poller: asyncio.Task[None] | None = None
        self._errands: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to look for news."""
        self._poller = asyncio.create_task(self._poll(), name="watches")

    async def close(self) -> None:
        """End every stream with `DrainingError`."""
        self._closing = True
        for events in self._watchers.values():
            for event in events:
                event.set()
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller
        if self._errands:
            await asyncio.wait(self._errands)

    async def follow(
        self, job: str, after_seq: int, heartbeat_seconds: float
    ) -> AsyncIterator[pb.JobEvent]:
        """Yield a job's events after a number, up to `completed`, with heartbeats in silences.

        Raises:
            DrainingError: the server shuts down.
            JobNotFoundError: the job is gone.
        """
        news = asyncio.Event()
        self._watchers[job].add(news)
        self._metrics.watch_streams.inc()
        renewal: asyncio.Task[None] | None = None
        try:
            if await asyncio.to_thread(self._store.is_abandonable, job):
                renewal = asyncio.create_task(self._renew(job))
            while True:
                if self._closing:
                    raise DrainingError
                news.clear()
                found = await asyncio.to_thread(self._store.events_after, job, after_seq)
                self._metrics.watch_lag.set(len(found))
                for event in coalesced(found):
                    after_seq = event.seq
                    yield event_to_proto(event)
                    if event.kind is EventKind.COMPLETED:
                        return
                if not found and not await _wait(news, heartbeat_seconds):
                    record = await asyncio.to_thread(self._store.get, job)
                    yield heartbeat_to_proto(record, time.time())
        finally:
            self._metrics.watch_streams.dec()
            self._watchers[job].discard(news)
            if not self._watchers[job]:
                del self._watchers[job]
                self._seqs.pop(job, None)
            if renewal is not None:
                renewal.cancel()
                if job not in self._watchers:
                    # In a task of its own: a stream that was cancelled may not wait here.
                    self._spawn(self._left(job))

    async def _renew(self, job: str) -> None:
        while True:
            with contextlib.suppress(StoreError):
                await asyncio.to_thread(self._store.watched, job, renew_seconds=2 * _RENEW_SECONDS)
            await asyncio.sleep(_RENEW_SECONDS)

    async def _left(self, job: str) -> None:
        with contextlib.suppress(StoreError):
            await asyncio.to_thread(self._store.watched, job, renew_seconds=0.0)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            if not self._watchers:
                continue
            try:
                seqs = await asyncio.to_thread(self._store.last_seqs, list(self._watchers))
            except StoreError as error:
                structlog.get_logger().error("the job store fails", error=str(error))
                await asyncio.sleep(1.0)
                continue
            for job, events in self._watchers.items():
                if seqs.get(job) != self._seqs.get(job):
                    for event in events:
                        event.set()
            self._seqs = {job: seq for job, seq in seqs.items() if job in self._watchers}

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


def coalesced(events: Sequence[Event]) -> list[Event]:
    """Return events without the progress that newer progress among them outdates."""
    kept: list[Event] = []
    newer = False
    for event in reversed(events):
        if event.kind is EventKind.PROGRESS:
            if newer:
                continue
            newer = True
        kept.append(event)
    return kept[::-1]


async def _wait(news: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(news.wait(), seconds)
    except TimeoutError:
        return False
    return True
