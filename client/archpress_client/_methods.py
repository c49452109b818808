"""The methods of the API that the client calls, for either kind of channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from archpress_proto.v1 import artifact_service_pb2 as artifacts
from archpress_proto.v1 import compression_service_pb2 as compression
from archpress_proto.v1 import info_service_pb2 as info
from archpress_proto.v1.jobs_pb2 import Job, JobEvent

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, R]):
    """One method: where it is, and the messages that go there and come back."""

    path: str
    request: type[Q]
    response: type[R]


_COMPRESSION = "/archpress.v1.CompressionService"
_ARTIFACTS = "/archpress.v1.ArtifactService"
_INFO = "/archpress.v1.InfoService"

CREATE_JOB = Method(f"{_COMPRESSION}/CreateJob", compression.CreateJobRequest, Job)
WATCH_JOB = Method(f"{_COMPRESSION}/WatchJob", compression.WatchJobRequest, JobEvent)
GET_JOB = Method(f"{_COMPRESSION}/GetJob", compression.GetJobRequest, Job)
GET_REPORT = Method(
    f"{_COMPRESSION}/GetReport", compression.GetReportRequest, compression.GetReportResponse
)
LIST_JOBS = Method(
    f"{_COMPRESSION}/ListJobs", compression.ListJobsRequest, compression.ListJobsResponse
)
CANCEL_JOB = Method(f"{_COMPRESSION}/CancelJob", compression.CancelJobRequest, Job)
DELETE_JOB = Method(
    f"{_COMPRESSION}/DeleteJob", compression.DeleteJobRequest, compression.DeleteJobResponse
)
PLAN = Method(f"{_COMPRESSION}/Plan", compression.PlanRequest, compression.Plan)
UPLOAD_MODEL = Method(f"{_ARTIFACTS}/UploadModel", artifacts.UploadModelRequest, artifacts.Artifact)
DOWNLOAD_ARTIFACT = Method(
    f"{_ARTIFACTS}/DownloadArtifact",
    artifacts.DownloadArtifactRequest,
    artifacts.DownloadArtifactResponse,
)
GET_SERVER_INFO = Method(f"{_INFO}/GetServerInfo", info.GetServerInfoRequest, info.ServerInfo)
