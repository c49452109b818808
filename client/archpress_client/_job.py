"""`JobHandle`: one job on the server, to watch, wait for and cancel."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from archpress_client import _convert, _request
from archpress_client._download import Download, whole_file
from archpress_client._errors import ArchpressError, RequestTimeoutError, ServerError
from archpress_client._events import CompletedEvent, Event
from archpress_client._transport import Transport
from archpress_client._types import Job, Result
from archpress_client._watch import Finished, Recreate, Watch, outcome
from archpress_proto.v1.compression_service_pb2 import (
    CancelJobRequest,
    CreateJobRequest,
    DeleteJobRequest,
    GetJobRequest,
)
from archpress_proto.v1.jobs_pb2 import JobEvent

_NOT_FINAL = "the job is not final yet; it goes on"

_log = logging.getLogger("archpress_client")


class JobHandle:
    """A job on the server; the handle may be dropped and made again by name."""

    def __init__(
        self, transport: Transport, name: str, create: CreateJobRequest | None = None
    ) -> None:
        """Use `Client.compress` or `Client.job` instead."""
        self._transport = transport
        self._name = name
        self._create = create
        self._source = Artifacts(transport)

    @property
    def name(self) -> str:
        """The job's name, `jobs/{id}`."""
        return self._name

    def __repr__(self) -> str:
        """Show the name."""
        return f"JobHandle({self._name!r})"

    def status(self) -> Job:
        """Return the job as it is now."""
        request = GetJobRequest(name=self._name)
        message = self._transport.call(lambda stubs: stubs.compression.GetJob, request)
        return _convert.job_from_proto(message, self._source)

    def cancel(self) -> Job:
        """Ask the job to stop, and return it; a final job stays as it is."""
        request = CancelJobRequest(name=self._name)
        message = self._transport.call(lambda stubs: stubs.compression.CancelJob, request)
        return _convert.job_from_proto(message, self._source)

    def delete(self) -> None:
        """Remove the job, its log and its artifacts."""
        request = DeleteJobRequest(name=self._name)
        self._transport.call(lambda stubs: stubs.compression.DeleteJob, request)

    def events(
        self, *, after_seq: int = 0, timeout_seconds: float | None = None
    ) -> Iterator[Event]:
        """Yield the job's events from `after_seq` on, the last of which is a `CompletedEvent`.

        A broken connection is resumed where it broke. Leaving the loop does not cancel the job.

        Raises:
            UnavailableError: the server did not come back.
            RequestTimeoutError: the job is not final after `timeout_seconds`.
        """
        watch = Watch(
            self._transport.retry,
            self._transport.random,
            after_seq=after_seq,
            may_recreate=self._create is not None,
        )
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            error: ArchpressError | None = None
            try:
                with closing(self._stream(watch.last_seq, deadline)) as stream:
                    for message in stream:
                        self._create = None
                        event = watch.feed(_convert.event_from_proto(message, self._source))
                        if event is not None:
                            yield event
                        if watch.finished:
                            return
            except RequestTimeoutError as caught:
                raise RequestTimeoutError(_NOT_FINAL) from caught
            except ArchpressError as caught:
                error = caught
            decision = watch.ended(error)
            match decision:
                case Finished():
                    return
                case Recreate():
                    self._create_again()
                    watch.restart()
                case _:
                    _log.info("%s: %s; watching again", self._name, error or "no last event")
                    _sleep(decision.delay_seconds, deadline)

    def result(
        self,
        on_event: Callable[[Event], object] | None = None,
        timeout_seconds: float | None = None,
    ) -> Result:
        """Wait for the job's end and return what it delivers.

        Raises:
            JobFailedError: the job failed; the error holds the best network, if there is one.
            JobCancelledError: the job was cancelled.
            RequestTimeoutError: the job is not final after `timeout_seconds`; it goes on.
        """
        for event in self.events(timeout_seconds=timeout_seconds):
            if on_event is not None:
                on_event(event)
            if isinstance(event, CompletedEvent):
                return outcome(event.job)
        raise ServerError(f"the log of {self._name} ended without a last event")

    def _stream(self, after_seq: int, deadline: float | None) -> Generator[JobEvent, None, None]:
        timeouts = self._transport.timeouts
        return self._transport.stream(
            lambda stubs: stubs.compression.WatchJob,
            _request.watch_job(self._name, after_seq, timeouts.heartbeat_seconds),
            silence_seconds=timeouts.watch_silence_seconds,
            timeout_seconds=None if deadline is None else max(deadline - time.monotonic(), 0.001),
        )

    def _create_again(self) -> None:
        assert self._create is not None  # `may_recreate` says so.
        message = self._transport.call(lambda stubs: stubs.compression.CreateJob, self._create)
        self._name, self._create = message.name, None


class Artifacts:
    """Fetches artifacts and checks them."""

    def __init__(self, transport: Transport) -> None:
        """Fetch through `transport`."""
        self._transport = transport

    def save(self, artifact: str, path: Path, sha256: str) -> None:
        """Write an artifact to a file, which appears whole or not at all."""
        with whole_file(path) as file:
            self._fetch(artifact, sha256, file)

    def read(self, artifact: str, sha256: str) -> bytes:
        """Return an artifact's bytes."""
        buffer = BytesIO()
        self._fetch(artifact, sha256, buffer)
        return buffer.getvalue()

    def _fetch(self, artifact: str, sha256: str, sink: BinaryIO) -> None:
        download = Download(artifact, self._transport.retry, self._transport.random, sha256=sha256)
        while True:
            error: ArchpressError | None = None
            try:
                for message in self._transport.stream(
                    lambda stubs: stubs.artifacts.DownloadArtifact,
                    download.request(),
                    silence_seconds=self._transport.timeouts.download_silence_seconds,
                ):
                    sink.write(download.feed(message))
            except ArchpressError as caught:
                error = caught
            delay_seconds = download.ended(error)
            if delay_seconds is None:
                return
            time.sleep(delay_seconds)


def _sleep(seconds: float, deadline: float | None) -> None:
    if deadline is not None and time.monotonic() + seconds >= deadline:
        raise RequestTimeoutError(_NOT_FINAL)
    time.sleep(seconds)
