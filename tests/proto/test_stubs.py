"""The stubs import cleanly, and the names of the API do not change by accident."""

from __future__ import annotations

import subprocess
import sys

from archpress_proto.v1 import (
    architecture_pb2,
    artifact_service_pb2,
    compression_service_pb2,
    info_service_pb2,
    jobs_pb2,
)

FILES = (
    architecture_pb2.DESCRIPTOR,
    artifact_service_pb2.DESCRIPTOR,
    compression_service_pb2.DESCRIPTOR,
    info_service_pb2.DESCRIPTOR,
    jobs_pb2.DESCRIPTOR,
)

MODULES = (
    "architecture_pb2",
    "artifact_service_pb2",
    "artifact_service_pb2_grpc",
    "compression_service_pb2",
    "compression_service_pb2_grpc",
    "info_service_pb2",
    "info_service_pb2_grpc",
    "jobs_pb2",
)

METHODS = {
    "/archpress.v1.ArtifactService/DownloadArtifact": (
        "DownloadArtifactRequest -> stream DownloadArtifactResponse"
    ),
    "/archpress.v1.ArtifactService/GetArtifact": "GetArtifactRequest -> Artifact",
    "/archpress.v1.ArtifactService/UploadModel": "stream UploadModelRequest -> Artifact",
    "/archpress.v1.CompressionService/CancelJob": "CancelJobRequest -> Job",
    "/archpress.v1.CompressionService/Compress": "CompressRequest -> stream JobEvent",
    "/archpress.v1.CompressionService/CreateJob": "CreateJobRequest -> Job",
    "/archpress.v1.CompressionService/DeleteJob": "DeleteJobRequest -> DeleteJobResponse",
    "/archpress.v1.CompressionService/GetJob": "GetJobRequest -> Job",
    "/archpress.v1.CompressionService/GetReport": "GetReportRequest -> GetReportResponse",
    "/archpress.v1.CompressionService/ListJobs": "ListJobsRequest -> ListJobsResponse",
    "/archpress.v1.CompressionService/Plan": "PlanRequest -> Plan",
    "/archpress.v1.CompressionService/WatchJob": "WatchJobRequest -> stream JobEvent",
    "/archpress.v1.InfoService/GetServerInfo": "GetServerInfoRequest -> ServerInfo",
}


def test_stubs_import_without_a_warning() -> None:
    code = "\n".join(f"import archpress_proto.v1.{module}" for module in MODULES)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


def test_methods_are_the_published_ones() -> None:
    found = {}
    for file in FILES:
        for service in file.services_by_name.values():
            for method in service.methods:
                request = "stream " * method.client_streaming + method.input_type.name
                answer = "stream " * method.server_streaming + method.output_type.name
                found[f"/{service.full_name}/{method.name}"] = f"{request} -> {answer}"
    assert found == METHODS


def test_every_message_is_in_the_package_of_the_api() -> None:
    assert {file.package for file in FILES} == {"archpress.v1"}


def test_enum_values_say_their_enum() -> None:
    for file in FILES:
        for enum in file.enum_types_by_name.values():
            zero = enum.values_by_number[0].name
            assert zero.endswith("_UNSPECIFIED")
            prefix = zero.removesuffix("UNSPECIFIED")
            assert all(value.name.startswith(prefix) for value in enum.values), enum.name
