"""An archpress server that keeps the contract and plays jobs from a script, faults included."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2

from archpress_proto.v1 import (
    architecture_pb2,
    artifact_service_pb2,
    artifact_service_pb2_grpc,
    compression_service_pb2,
    compression_service_pb2_grpc,
    info_service_pb2,
    info_service_pb2_grpc,
    jobs_pb2,
)
from tests.client.told_jobs import (
    MODEL,
    architecture,
    candidate,
    costs,
    error_status,
    final_job,
    heir,
    log_of,
)

M = TypeVar("M")

CHUNK = 64 * 1024

ELSEWHERE = "0.0.0.0"
"""Linux takes it for this machine, the client for another."""


def rate_limited(seconds: float) -> status_pb2.Status:
    """Return what the server says to a principal that calls too often."""
    return error_status(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "more than 100 requests a second",
        "RATE_LIMITED",
        {"requests_per_second": "100"},
        retry_after=Duration(nanos=round(1e9 * seconds)),
    )


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, status: Any) -> NoReturn:
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, status.message)
    raise AssertionError("abort raises")


def not_found(context: grpc.ServicerContext, name: str, reason: str) -> NoReturn:
    code = grpc.StatusCode.NOT_FOUND
    refuse(context, code, error_status(code, f"no {name}", reason, {"name": name}))


def unused(context: grpc.ServicerContext) -> NoReturn:
    """The client does without this method."""
    code = grpc.StatusCode.UNIMPLEMENTED
    refuse(context, code, error_status(code, "not scripted", "NOT_IMPLEMENTED"))


@dataclass(frozen=True)
class Cut:
    """Ends a stream after so many messages: an error code, or None for OK."""

    after: int
    code: grpc.StatusCode | None = grpc.StatusCode.UNAVAILABLE
    status: status_pb2.Status | None = None
    """What goes with the code, where it is the server's own."""


@dataclass
class Script:
    """What the server does; tests change it before they call."""

    cuts: list[Cut] = field(default_factory=list)
    """For the next streams, in order; a stream without one runs to its end."""
    download_cuts: list[Cut] = field(default_factory=list)
    refusals: list[tuple[grpc.StatusCode, status_pb2.Status]] = field(default_factory=list)
    """For the next unary requests."""
    lose_next_deletion: bool = False
    """Delete the next job, and let the answer get lost."""
    forget_next_job: bool = False
    """Lose the next job right after its creation."""
    hang: bool = False
    """Say nothing on watch streams, not even heartbeats."""
    heartbeats: bool = False
    """Send one behind every event."""
    never_ends: bool = False
    """Leave out `completed`; send heartbeats instead."""
    final: str = "succeeded"
    corrupt: bool = False
    """Send other bytes than the description promises."""


class ScriptedServer(
    compression_service_pb2_grpc.CompressionServiceServicer,
    artifact_service_pb2_grpc.ArtifactServiceServicer,
    info_service_pb2_grpc.InfoServiceServicer,
):
    """The three services; `script` says what goes wrong, `calls` what was asked."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.script = Script()
        self.calls: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.left: list[str] = []
        """Jobs of the watch streams that have ended, whoever ended them."""
        self.jobs: dict[str, jobs_pb2.Job] = {}
        self._by_request: dict[str, tuple[bytes, str]] = {}
        self._made = 0
        self._released = threading.Event()
        self.port = 0
        self._credentials = credentials
        self._server: grpc.Server | None = None

    def start(self) -> None:
        self._released.clear()
        self._server = grpc.server(ThreadPoolExecutor(8))
        compression_service_pb2_grpc.add_CompressionServiceServicer_to_server(self, self._server)
        artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server(self, self._server)
        info_service_pb2_grpc.add_InfoServiceServicer_to_server(self, self._server)
        if self._credentials is None:
            self.port = self._server.add_insecure_port(self.target)
        else:
            self.port = self._server.add_secure_port(self.target, self._credentials)
        self._server.start()

    def stop(self) -> None:
        self._released.set()
        if self._server is not None:
            self._server.stop(0).wait()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _note(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        self.calls.append((method, request))
        self.metadata.append({str(key): value for key, value in context.invocation_metadata()})

    def _enter(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        self._note(method, request, context)
        if self.script.refusals:
            refuse(context, *self.script.refusals.pop(0))

    def asked(self, method: str) -> list[Any]:
        return [request for name, request in self.calls if name == method]

    def _job(self, name: str, context: grpc.ServicerContext) -> jobs_pb2.Job:
        if name not in self.jobs:
            not_found(context, name, "JOB_NOT_FOUND")
        return self.jobs[name]

    def CreateJob(
        self,
        request: compression_service_pb2.CreateJobRequest,
        context: grpc.ServicerContext,
    ) -> jobs_pb2.Job:
        self._enter("CreateJob", request, context)
        content = request.spec.SerializeToString(deterministic=True)
        known = self._by_request.get(request.request_id)
        if known is not None:
            if known[0] != content:
                code = grpc.StatusCode.ALREADY_EXISTS
                refuse(context, code, error_status(code, "used before", "REQUEST_ID_REUSED"))
            return self.jobs[known[1]]
        self._made += 1
        job = jobs_pb2.Job(
            name=f"jobs/{self._made}",
            state=jobs_pb2.JobState.JOB_STATE_QUEUED,
            spec=request.spec,
            last_seq=1,
            queue_position=1,
            create_time=Timestamp(seconds=1_800_000_000),
        )
        if self.script.forget_next_job:
            self.script.forget_next_job = False
            return job
        self.jobs[job.name] = job
        if request.request_id:
            self._by_request[request.request_id] = (content, job.name)
        return job

    def WatchJob(
        self,
        request: compression_service_pb2.WatchJobRequest,
        context: grpc.ServicerContext,
    ) -> Iterator[jobs_pb2.JobEvent]:
        self._note("WatchJob", request, context)
        context.add_callback(lambda: self.left.append(request.name))
        job = self._job(request.name, context)
        if self.script.hang:
            self._released.wait(30)
            return
        events = log_of(job, self.script.final)
        if request.after_seq > len(events):
            code = grpc.StatusCode.INVALID_ARGUMENT
            refuse(context, code, error_status(code, "after_seq", "INVALID_FIELD"))
        rest = events[request.after_seq :] or events[-1:]
        if self.script.never_ends:
            rest = rest[:-1]
        state = jobs_pb2.JobState.JOB_STATE_RUNNING
        beat = jobs_pb2.JobEvent(job=job.name, heartbeat=jobs_pb2.Heartbeat(state=state))
        if self.script.heartbeats:
            rest = [sent for event in rest for sent in (event, beat)]
        cut = self.script.cuts.pop(0) if self.script.cuts else None
        yield from _cut_short(rest, cut, context)
        while self.script.never_ends and not self._released.wait(0.05):
            yield beat

    def GetJob(
        self, request: compression_service_pb2.GetJobRequest, context: grpc.ServicerContext
    ) -> jobs_pb2.Job:
        self._enter("GetJob", request, context)
        return final_job(self._job(request.name, context), self.script.final)

    def GetReport(
        self,
        request: compression_service_pb2.GetReportRequest,
        context: grpc.ServicerContext,
    ) -> compression_service_pb2.GetReportResponse:
        self._enter("GetReport", request, context)
        name = self._job(request.name, context).name
        return compression_service_pb2.GetReportResponse(html=f"<h1>{name}</h1>".encode())

    def ListJobs(
        self, request: compression_service_pb2.ListJobsRequest, context: grpc.ServicerContext
    ) -> compression_service_pb2.ListJobsResponse:
        self._enter("ListJobs", request, context)
        marks = request.labels.items()
        wanted = [
            job
            for job in reversed(self.jobs.values())
            if (not request.states or job.state in request.states)
            and marks <= job.spec.labels.items()
        ]
        start = int(request.page_token or 0)
        end = start + (request.page_size or 100)
        token = str(end) if end < len(wanted) else ""
        return compression_service_pb2.ListJobsResponse(
            jobs=wanted[start:end], next_page_token=token
        )

    def CancelJob(
        self, request: compression_service_pb2.CancelJobRequest, context: grpc.ServicerContext
    ) -> jobs_pb2.Job:
        self._enter("CancelJob", request, context)
        job = self._job(request.name, context)
        job.state = jobs_pb2.JobState.JOB_STATE_CANCELLING
        self.script.final = "cancelled"
        return job

    def DeleteJob(
        self, request: compression_service_pb2.DeleteJobRequest, context: grpc.ServicerContext
    ) -> compression_service_pb2.DeleteJobResponse:
        self._enter("DeleteJob", request, context)
        del self.jobs[self._job(request.name, context).name]
        if self.script.lose_next_deletion:
            self.script.lose_next_deletion = False
            context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the script")
        return compression_service_pb2.DeleteJobResponse()

    def Plan(
        self, request: compression_service_pb2.PlanRequest, context: grpc.ServicerContext
    ) -> compression_service_pb2.Plan:
        self._enter("Plan", request, context)
        return compression_service_pb2.Plan(
            costs_before=costs(708_000),
            candidates=[candidate(rank) for rank in range(1, request.max_candidates + 1)],
            embedding="fashion-mnist-default-1",
            duration=Duration(seconds=1, nanos=500_000_000),
            warnings=["the input network is far from the population"],
            heir=heir(request.max_candidates + 1),
        )

    def UploadModel(
        self,
        request_iterator: Iterator[artifact_service_pb2.UploadModelRequest],
        context: grpc.ServicerContext,
    ) -> artifact_service_pb2.Artifact:
        sent = list(request_iterator)
        self._enter("UploadModel", sent, context)
        header = sent[0].header
        return artifact_service_pb2.Artifact(
            name="artifacts/up",
            kind=artifact_service_pb2.ARTIFACT_KIND_UPLOAD,
            size_bytes=sum(len(message.data) for message in sent[1:]),
            sha256=header.sha256,
            display_name=header.display_name,
            architecture=architecture(),
            expire_time=Timestamp(seconds=1_800_000_000),
        )

    def DownloadArtifact(
        self,
        request: artifact_service_pb2.DownloadArtifactRequest,
        context: grpc.ServicerContext,
    ) -> Iterator[artifact_service_pb2.DownloadArtifactResponse]:
        self._note("DownloadArtifact", request, context)
        if request.name != "artifacts/one":
            not_found(context, request.name, "ARTIFACT_NOT_FOUND")
        sha256 = hashlib.sha256(MODEL).hexdigest()
        if request.if_sha256 not in ("", sha256) or request.read_offset > len(MODEL):
            code = grpc.StatusCode.INVALID_ARGUMENT
            refuse(context, code, error_status(code, "other bytes", "INVALID_FIELD"))
        model = bytes(len(MODEL)) if self.script.corrupt else MODEL
        info = artifact_service_pb2.Artifact(
            name=request.name, size_bytes=len(MODEL), sha256=sha256
        )
        messages = [artifact_service_pb2.DownloadArtifactResponse(info=info)]
        messages += [
            artifact_service_pb2.DownloadArtifactResponse(data=model[start : start + CHUNK])
            for start in range(request.read_offset, len(model), CHUNK)
        ]
        cut = self.script.download_cuts.pop(0) if self.script.download_cuts else None
        yield from _cut_short(messages, cut, context)

    def Compress(
        self, request: compression_service_pb2.CompressRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        unused(context)

    def GetArtifact(
        self, request: artifact_service_pb2.GetArtifactRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        unused(context)

    def GetServerInfo(
        self, request: info_service_pb2.GetServerInfoRequest, context: grpc.ServicerContext
    ) -> info_service_pb2.ServerInfo:
        self._enter("GetServerInfo", request, context)
        shape = architecture_pb2.InputShape(channels=1, height=28, width=28)
        return info_service_pb2.ServerInfo(
            api_versions=["archpress.v1"],
            server_version="0.1.0",
            limits=info_service_pb2.Limits(max_layers=512, max_run_time=Duration(seconds=3600)),
            datasets=[
                info_service_pb2.DatasetInfo(
                    name="fashion-mnist", input_shape=shape, classes=10, train_images=55_000
                )
            ],
            embeddings=[
                info_service_pb2.EmbeddingInfo(
                    name="fashion-mnist-default-1",
                    dataset="fashion-mnist",
                    method=jobs_pb2.Method.METHOD_DEFAULT,
                    quality=info_service_pb2.EmbeddingQuality(accuracy_kendall_tau=0.8),
                )
            ],
            networks=[
                info_service_pb2.NetworkInfo(
                    name="conv-7", dataset="fashion-mnist", costs=costs(708_000)
                )
            ],
            layer_kinds=[architecture_pb2.LayerKind.LAYER_KIND_CONVOLUTION],
        )


def _cut_short(
    messages: Sequence[M], cut: Cut | None, context: grpc.ServicerContext
) -> Iterator[M]:
    for index, message in enumerate(messages):
        if cut is not None and index == cut.after:
            break
        yield message
    if cut is not None and cut.code is not None and cut.status is not None:
        refuse(context, cut.code, cut.status)
    if cut is not None and cut.code is not None:
        context.abort(cut.code, "cut by the script")
