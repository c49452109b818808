"""What each method of the API asks for: the one table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Scope(StrEnum):
    """What a caller may do; ADMIN holds the others, and that for the jobs of every principal."""

    READ = "read"
    COMPRESS = "compress"
    ADMIN = "admin"


_COMPRESSION = "/archpress.v1.CompressionService/"
_ARTIFACTS = "/archpress.v1.ArtifactService/"
_INFO = "/archpress.v1.InfoService/"

METHOD_SCOPES: Mapping[str, Scope] = {
    _COMPRESSION + "Compress": Scope.COMPRESS,
    _COMPRESSION + "CreateJob": Scope.COMPRESS,
    _COMPRESSION + "CancelJob": Scope.COMPRESS,
    _COMPRESSION + "DeleteJob": Scope.COMPRESS,
    _COMPRESSION + "Plan": Scope.COMPRESS,
    _COMPRESSION + "WatchJob": Scope.READ,
    _COMPRESSION + "GetJob": Scope.READ,
    _COMPRESSION + "GetReport": Scope.READ,
    _COMPRESSION + "ListJobs": Scope.READ,
    _ARTIFACTS + "UploadModel": Scope.COMPRESS,
    _ARTIFACTS + "DownloadArtifact": Scope.READ,
    _ARTIFACTS + "GetArtifact": Scope.READ,
    _INFO + "GetServerInfo": Scope.READ,
}

_OPEN_SERVICES = (
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
)


def is_open(method: str) -> bool:
    """Return whether a method needs no caller: probes and tools ask before they have a token."""
    return method.startswith(_OPEN_SERVICES)
