"""What a client can do with one job, written once for threads and for asyncio."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from archpress_client import _request
from archpress_client._convert_job import event_from_proto, job_from_proto
from archpress_client._errors import (
    ArchpressError,
    RequestTimeoutError,
    ServerError,
    UnavailableError,
)
from archpress_client._events import CompletedEvent, Event
from archpress_client._methods import (
    CANCEL_JOB,
    CREATE_JOB,
    DELETE_JOB,
    GET_JOB,
    GET_REPORT,
    WATCH_JOB,
)
from archpress_client._rpc_errors import is_unknown
from archpress_client._transport import Transport
from archpress_client._types import Job, ModelSource, Result
from archpress_client._watch import Watch, outcome
from archpress_client._wire import Patience
from archpress_proto.v1.compression_service_pb2 import (
    CancelJobRequest,
    CreateJobRequest,
    DeleteJobRequest,
    GetJobRequest,
    GetReportRequest,
)
from archpress_proto.v1.jobs_pb2 import JobEvent

_NOT_FINAL = "the job is not final yet; it goes on"

_log = logging.getLogger("archpress_client")


class JobOperations:
    """The operations on one job."""

    def __init__(
        self,
        transport: Transport,
        source: ModelSource,
        name: str,
        create: CreateJobRequest | None = None,
    ) -> None:
        """Keep the job's name and, until the server names the job again, its request."""
        self.name = name
        self._transport = transport
        self._source = source
        self._create = create

    async def status(self) -> Job:
        """Return the job as it is now."""
        message = await self._transport.call(GET_JOB, GetJobRequest(name=self.name))
        self._create = None
        return job_from_proto(message, self._source)

    async def report(self) -> str:
        """Return the job's report as HTML."""
        request, seconds = GetReportRequest(name=self.name), self._transport.timeouts.plan_seconds
        message = await self._transport.call(GET_REPORT, request, seconds)
        self._create = None
        return message.html.decode()

    async def cancel(self) -> Job:
        """Ask the job to stop, and return it."""
        message = await self._transport.call(CANCEL_JOB, CancelJobRequest(name=self.name))
        self._create = None
        return job_from_proto(message, self._source)

    async def delete(self) -> None:
        """Remove the job, its log and its artifacts."""
        self._create = None
        await self._transport.delete(DELETE_JOB, DeleteJobRequest(name=self.name))

    async def events(
        self, after_seq: int = 0, timeout_seconds: float | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield the job's events over as many streams as it takes."""
        _request.check_after_seq(after_seq)
        watch = Watch(self._transport.retry, self._transport.random, after_seq=after_seq)
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            error: ArchpressError | None = None
            try:
                async with aclosing(self._stream(watch.last_seq, deadline)) as messages:
                    async for message in messages:
                        self._create = None
                        event = watch.feed(event_from_proto(message, self._source))
                        if event is not None:
                            yield event
                        if watch.finished:
                            return
            except RequestTimeoutError as caught:
                if deadline is not None and time.monotonic() >= deadline:
                    raise RequestTimeoutError(_NOT_FINAL) from caught
                # Somebody on the way limits how long a stream lasts.
                error = UnavailableError(caught.message)
            except ArchpressError as caught:
                error = caught
            if self._create is not None and is_unknown(error):
                await self._create_again(self._create)
                watch.restart()
                continue
            delay_seconds = watch.ended(error)
            _log.info("%s: %s; watching again", self.name, error or "no last event")
            await self._sleep(delay_seconds, deadline)

    async def result(
        self,
        on_event: Callable[[Event], object] | None = None,
        timeout_seconds: float | None = None,
    ) -> Result:
        """Wait for the job's end and return what it delivers."""
        async with aclosing(self.events(timeout_seconds=timeout_seconds)) as events:
            async for event in events:
                if on_event is not None:
                    on_event(event)
                if isinstance(event, CompletedEvent):
                    return outcome(event.job)
        raise ServerError(f"the log of {self.name} ended without a last event")

    def _stream(self, after_seq: int, deadline: float | None) -> AsyncGenerator[JobEvent, None]:
        timeouts = self._transport.timeouts
        left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
        return self._transport.stream(
            WATCH_JOB,
            _request.watch_job(self.name, after_seq, timeouts.heartbeat_seconds),
            Patience(timeouts.watch_silence_seconds, left),
        )

    async def _create_again(self, request: CreateJobRequest) -> None:
        message = await self._transport.call(CREATE_JOB, request)
        self.name, self._create = message.name, None

    async def _sleep(self, seconds: float, deadline: float | None) -> None:
        if deadline is not None and time.monotonic() + seconds >= deadline:
            raise RequestTimeoutError(_NOT_FINAL)
        await self._transport.wire.sleep(seconds)
