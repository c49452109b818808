"""`CompressionService`: jobs and plans."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import accumulate

from google.protobuf.duration_pb2 import Duration

from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceServicer
from archpress_server.auth.callers import current_caller
from archpress_server.jobs.errors import JobUnreadableError
from archpress_server.jobs.model import ArtifactRecord, Event, JobRecord, State, Submission
from archpress_server.jobs.result_cache import EarlierResult
from archpress_server.jobs.store import JobStore
from archpress_server.metrics import Metrics
from archpress_server.planner import Planner, TooLongError
from archpress_server.service.convert_job import job_to_proto, state_from_proto
from archpress_server.service.convert_result import plan_to_proto
from archpress_server.service.errors import BusyError, field_error
from archpress_server.service.faults import Faults
from archpress_server.service.gate import Gate
from archpress_server.service.handlers import Context
from archpress_server.service.job_reader import JobReader
from archpress_server.service.names import job_id
from archpress_server.service.own_artifact import own_artifact
from archpress_server.service.parse import MAX_CANDIDATES, RequestParser, check_labels
from archpress_server.service.places import Places
from archpress_server.service.times import seconds, timestamp
from archpress_server.service.watch import Watches
from archpress_server.threads import Threads
from archpress_server.traces import current_traceparent

_PLANS = 16
"""Plans and reports that wait for the one process that makes them."""

_PLANS_EACH = 8
"""Of one principal."""

_CHECK_SECONDS = 5.0
_DRAWN_EVENTS = 20_000

_PAGE_BYTES = 2 * 2**20
"""Of a page of jobs, which ends earlier beyond: half of what a message may have."""


class CompressionServicer(CompressionServiceServicer):
    """Parses, calls the store or the planner, converts; all waiting is done elsewhere."""

    def __init__(
        self,
        store: JobStore,
        parser: RequestParser,
        planner: Planner,
        watches: Watches,
        metrics: Metrics,
        gate: Gate,
        wake: Callable[[], None],
    ) -> None:
        """Serve the jobs of a store; `wake` is called when a job was stored."""
        self._store = store
        self._reader = JobReader(store)
        self._parser = parser
        self._planner = planner
        self._watches = watches
        self._metrics = metrics
        self._gate = gate
        self._wake = wake
        self._plans = Places("plans and reports", _PLANS, _PLANS_EACH)
        self._checks = Threads("earlier results")

    async def Compress(
        self, request: service_pb.CompressRequest, context: Context
    ) -> AsyncIterator[pb.JobEvent]:
        """Create a job and follow it."""
        record = await self._create(request)
        if request.validate_only:
            yield pb.JobEvent(time=timestamp(time.time()), snapshot=job_to_proto(record))
            return
        interval = _heartbeat_seconds(request, request.heartbeat_interval)
        async for event in self._watches.follow(record.id, 0, interval):
            yield event

    async def CreateJob(self, request: service_pb.CreateJobRequest, context: Context) -> pb.Job:
        """Create a job."""
        return job_to_proto(await self._create(request))

    async def WatchJob(
        self, request: service_pb.WatchJobRequest, context: Context
    ) -> AsyncIterator[pb.JobEvent]:
        """Follow a job from where the caller stopped."""
        job = job_id(request.name)
        record = await self._own(job)
        after = request.after_seq
        if record.state.final:
            # Whoever knows all of it is told the end once more.
            after = min(after, record.last_seq - 1)
        elif after > record.last_seq:
            raise field_error("after_seq", f"is {after}, the job's last_seq is {record.last_seq}")
        interval = _heartbeat_seconds(request, request.heartbeat_interval)
        async for event in self._watches.follow(job, after, interval):
            yield event

    async def GetJob(self, request: service_pb.GetJobRequest, context: Context) -> pb.Job:
        """Return a job."""
        return job_to_proto(await self._own(job_id(request.name)))

    async def ListJobs(
        self, request: service_pb.ListJobsRequest, context: Context
    ) -> service_pb.ListJobsResponse:
        """Return a page of the caller's jobs."""
        faults = Faults()
        if not 0 <= request.page_size <= 1000:
            faults.add("page_size", f"is {request.page_size}, must be 0 to 1000")
        states = _states(faults, request.states)
        check_labels(faults, "labels", request.labels)
        faults.raise_if_any()
        caller = current_caller()
        wanted = partial(
            self._store.list,
            token=request.page_token,
            states=states,
            with_labels=request.labels,
            principal=None if caller.sees_all else caller.principal,
        )
        page = await asyncio.to_thread(wanted, size=request.page_size or 100)
        found = [job_to_proto(job, brief=True) for job in page.jobs]
        fitting = _fitting(found)
        if fitting < len(found):
            page = await asyncio.to_thread(wanted, size=fitting)
            found = [job_to_proto(job, brief=True) for job in page.jobs]
        return service_pb.ListJobsResponse(jobs=found, next_page_token=page.next_token)

    async def CancelJob(self, request: service_pb.CancelJobRequest, context: Context) -> pb.Job:
        """Ask a job to stop."""
        job = job_id(request.name)
        before = await self._own(job)
        record = await asyncio.to_thread(self._store.request_cancel, job)
        if before.state is State.QUEUED:
            # The supervisor counts those that a worker held.
            self._metrics.observe_end(record)
        return job_to_proto(record)

    async def DeleteJob(
        self, request: service_pb.DeleteJobRequest, context: Context
    ) -> service_pb.DeleteJobResponse:
        """Remove a job."""
        job = job_id(request.name)
        before = await self._own(job)
        record = await asyncio.to_thread(self._store.delete, job)
        if not before.state.final:
            self._metrics.observe_end(record)
        return service_pb.DeleteJobResponse()

    async def Plan(self, request: service_pb.PlanRequest, context: Context) -> service_pb.Plan:
        """Propose candidates."""
        self._gate.check()
        if not 0 <= request.max_candidates <= MAX_CANDIDATES:
            text = f"is {request.max_candidates}, must be 0 to {MAX_CANDIDATES}"
            raise field_error("max_candidates", text)
        upload = await self._upload(request.spec)
        spec, offered = await asyncio.to_thread(self._parser.spec, request.spec, upload)
        with self._planning():
            plan = await self._planner.plan(
                spec.request,
                offered.folder,
                request.max_candidates or 8,
                given=upload is not None,
            )
        return plan_to_proto(plan)

    async def GetReport(
        self, request: service_pb.GetReportRequest, context: Context
    ) -> service_pb.GetReportResponse:
        """Draw a job."""
        job = await self._own(job_id(request.name))
        with self._planning():
            events = await asyncio.to_thread(self._log, job.id)
            embedding = self._parser.catalog.embedding_named(job.spec.embedding)
            folder = None if embedding is None else embedding.folder
            return service_pb.GetReportResponse(
                html=await self._planner.report(job, events, folder)
            )

    @contextmanager
    def _planning(self) -> Iterator[None]:
        """Hold a place for a call that waits for the planner.

        Raises:
            BusyError: there is none, or the planner needs too long.
        """
        try:
            with self._plans.taken(current_caller().principal):
                yield
        except TooLongError as error:
            raise BusyError(str(error)) from None

    def _log(self, job: str) -> list[Event]:
        """Return a job's log, up to the most events that are drawn."""
        found: list[Event] = []
        while more := self._store.events_after(job, found[-1].seq if found else 0):
            found += more
            if len(found) >= _DRAWN_EVENTS:
                break
        return found

    async def _own(self, job: str) -> JobRecord:
        """Return a job of the caller."""
        try:
            record = await self._reader.get(job)
        except JobUnreadableError as error:
            current_caller().check_owner(f"jobs/{job}", error.principal)
            raise
        current_caller().check_owner(f"jobs/{job}", record.principal)
        return record

    async def _upload(self, spec: pb.JobSpec) -> ArtifactRecord | None:
        """Return the model of the caller's that a specification names, if it names one."""
        if spec.WhichOneof("model") != "artifact":
            return None
        return await own_artifact(self._store, spec.artifact)

    async def _create(
        self, request: service_pb.CreateJobRequest | service_pb.CompressRequest
    ) -> JobRecord:
        self._gate.check()
        upload = await self._upload(request.spec)
        submission = replace(
            await asyncio.to_thread(self._parser.submission, request, upload),
            principal=current_caller().principal,
            traceparent=current_traceparent(),
        )
        if request.validate_only:
            return _as_it_would_be(submission)
        earlier = await self._earlier_result(submission)
        record = await asyncio.to_thread(self._store.create, submission, earlier)
        self._wake()
        return record

    async def _earlier_result(self, submission: Submission) -> EarlierResult | None:
        """Return a result to take over; none where the artifacts do not answer soon."""
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                return await self._checks.run(self._store.earlier_result, submission)
        except TimeoutError:
            return None


def _as_it_would_be(submission: Submission) -> JobRecord:
    return JobRecord("", State.QUEUED, submission.spec, time.time())


def _states(faults: Faults, values: Sequence[int]) -> list[State]:
    """Return the states that are asked for, or add what is wrong with them."""
    states: list[State] = []
    if not faults.check_count("states", len(values), len(State)):
        return states
    for index, value in enumerate(values):
        state = state_from_proto(value)
        if state is None:
            faults.add(f"states[{index}]", f"there is no state {value}")
        else:
            states.append(state)
    return states


def _heartbeat_seconds(
    request: service_pb.CompressRequest | service_pb.WatchJobRequest, interval: Duration
) -> float:
    if not request.HasField("heartbeat_interval"):
        return 15.0
    return min(60.0, max(5.0, seconds(interval)))


def _fitting(found: Sequence[pb.Job]) -> int:
    """Return how many jobs, at least one, fit into a page."""
    sizes = accumulate(job.ByteSize() for job in found)
    return max(1, sum(size <= _PAGE_BYTES for size in sizes))
