"""From errors to gRPC statuses: one table, rich details, nothing internal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Never

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from archpress_server.auth.errors import (
    RATE_LIMITED,
    ForbiddenError,
    RateLimitError,
    UnknownCallerError,
)
from archpress_server.call_reason import CallReason
from archpress_server.compress.types import FieldViolation, Reason, RequestError
from archpress_server.jobs.errors import (
    ArtifactCorruptError,
    ArtifactNotFoundError,
    DatabaseUnavailableError,
    FilesUnavailableError,
    JobNotFoundError,
    JobUnreadableError,
    PageTokenError,
    PrincipalQuotaError,
    QueueFullError,
    RequestIdReusedError,
    UploadQuotaError,
)
from archpress_server.jobs.model import ARTIFACT_CORRUPT, INTERNAL, TIMED_OUT, WORKER_LOST, JobError
from archpress_server.logs import log_unexpected

DOMAIN = "archpress"
STATUS_DETAILS = "grpc-status-details-bin"

_MESSAGE_BYTES = 512
_DETAILS_BYTES = 4096
_VALUE_CHARACTERS = 256

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_CODES: Mapping[str, grpc.StatusCode] = {
    **dict.fromkeys(Reason, _INVALID),
    Reason.NO_EMBEDDING: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.BUDGET_UNREACHABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.TRAINING_DIVERGED: grpc.StatusCode.INTERNAL,
    Reason.CERTIFICATION_FAILED: grpc.StatusCode.INTERNAL,
    WORKER_LOST: grpc.StatusCode.ABORTED,
    TIMED_OUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    INTERNAL: grpc.StatusCode.INTERNAL,
    ARTIFACT_CORRUPT: grpc.StatusCode.DATA_LOSS,
}


class DrainingError(Exception):
    """The server is shutting down."""


class BusyError(Exception):
    """Too many calls of one kind wait at the moment; the message names them."""


class UploadStalledError(Exception):
    """The bytes of an upload did not come in time; the message says how many, and how long."""


@dataclass(frozen=True)
class Refusal:
    """A failed call: its code, and the reason that stands in ErrorInfo, empty for plain codes."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[FieldViolation] = ()
    retry_seconds: float | None = None
    quota: str = ""
    quota_subject: str = "server"


def refusal_of(error: Exception) -> Refusal:
    """Return how a call that raised this error is answered; unexpected ones are logged."""
    match error:
        case RequestError():
            metadata = dict(error.metadata)
            if error.reason in (Reason.INVALID_FIELD, Reason.INVALID_BUDGET):
                metadata.setdefault("field", error.violations[0].path)
            return Refusal(
                _CODES[error.reason], error.reason, str(error), metadata, error.violations
            )
        case JobNotFoundError():
            metadata = {"name": f"jobs/{error.job}"}
            return Refusal(
                grpc.StatusCode.NOT_FOUND, CallReason.JOB_NOT_FOUND, str(error), metadata
            )
        case JobUnreadableError(final=False):
            # Of a newer one, which is rolled out just now: the next try may reach it.
            return Refusal(
                grpc.StatusCode.UNAVAILABLE,
                CallReason.DATABASE_UNAVAILABLE,
                str(error),
                {"name": f"jobs/{error.job}"},
                retry_seconds=5.0,
            )
        case JobUnreadableError():
            error_id = log_unexpected("a job of another version is asked for", error)
            metadata = {"name": f"jobs/{error.job}", "error_id": error_id}
            return Refusal(grpc.StatusCode.INTERNAL, INTERNAL, str(error), metadata)
        case ArtifactNotFoundError():
            metadata = {"name": f"artifacts/{error.artifact}"}
            return Refusal(
                grpc.StatusCode.NOT_FOUND, CallReason.ARTIFACT_NOT_FOUND, str(error), metadata
            )
        case RequestIdReusedError():
            metadata = {"request_id": error.request_id, "job": f"jobs/{error.job}"}
            code = grpc.StatusCode.ALREADY_EXISTS
            return Refusal(code, CallReason.REQUEST_ID_REUSED, str(error), metadata)
        case PageTokenError():
            return refusal_of(field_error("page_token", str(error)))
        case QueueFullError() | BusyError():
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            return Refusal(code, "", str(error), retry_seconds=5.0, quota=str(error))
        case PrincipalQuotaError() | UploadQuotaError():
            # Room for jobs comes as they start.
            retry_seconds = 5.0 if isinstance(error, PrincipalQuotaError) else None
            subject = f"principal:{error.principal}" if error.principal else "anonymous"
            return Refusal(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "",
                str(error),
                retry_seconds=retry_seconds,
                quota=str(error),
                quota_subject=subject,
            )
        case RateLimitError():
            return Refusal(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                RATE_LIMITED,
                str(error),
                {"requests_per_second": f"{error.per_second:g}"},
                retry_seconds=error.retry_seconds,
                quota=str(error),
                quota_subject=f"principal:{error.principal}",
            )
        case UnknownCallerError():
            code = grpc.StatusCode.UNAUTHENTICATED
            return Refusal(code, error.reason, str(error), error.metadata)
        case ForbiddenError():
            code = grpc.StatusCode.PERMISSION_DENIED
            return Refusal(code, error.reason, str(error), error.metadata)
        case DrainingError():
            return Refusal(
                grpc.StatusCode.UNAVAILABLE,
                CallReason.DRAINING,
                "the server is shutting down",
                retry_seconds=1.0,
            )
        case UploadStalledError():
            return Refusal(
                grpc.StatusCode.UNAVAILABLE,
                CallReason.UPLOAD_STALLED,
                str(error),
                retry_seconds=1.0,
            )
        case DatabaseUnavailableError():
            error_id = log_unexpected("the job store cannot be reached", error)
            return Refusal(
                grpc.StatusCode.UNAVAILABLE,
                CallReason.DATABASE_UNAVAILABLE,
                "the job store cannot be reached at the moment",
                {"error_id": error_id},
                retry_seconds=1.0,
            )
        case FilesUnavailableError():
            error_id = log_unexpected("the artifacts cannot be reached", error)
            return Refusal(
                grpc.StatusCode.UNAVAILABLE,
                CallReason.STORAGE_UNAVAILABLE,
                "the artifacts cannot be reached at the moment",
                {"error_id": error_id},
                retry_seconds=5.0,
            )
        case ArtifactCorruptError():
            error_id = log_unexpected("an artifact is damaged", error, artifact=error.artifact)
            return Refusal(
                grpc.StatusCode.DATA_LOSS,
                ARTIFACT_CORRUPT,
                f"the file of artifact {error.artifact} is damaged",
                {"name": f"artifacts/{error.artifact}", "error_id": error_id},
            )
        case _:
            error_id = log_unexpected("a call failed", error)
            message = f"internal error {error_id}"
            return Refusal(grpc.StatusCode.INTERNAL, INTERNAL, message, {"error_id": error_id})


def field_error(path: str, description: str) -> RequestError:
    """Return the error of a single bad field."""
    return RequestError((FieldViolation(path, description, Reason.INVALID_FIELD),))


def to_status(refusal: Refusal) -> status_pb2.Status:
    """Return the status with its details, cut so that it fits into a call's trailers."""
    status = status_pb2.Status(
        code=refusal.code.value[0], message=_cut_bytes(refusal.message, _MESSAGE_BYTES)
    )
    if refusal.reason:
        metadata = {key: text[:_VALUE_CHARACTERS] for key, text in refusal.metadata.items()}
        _pack(
            status,
            error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=metadata),
        )
    if refusal.retry_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(math.ceil(1000 * refusal.retry_seconds))
        _pack(status, error_details_pb2.RetryInfo(retry_delay=delay))
    if refusal.quota:
        violation = error_details_pb2.QuotaFailure.Violation(
            subject=refusal.quota_subject, description=refusal.quota
        )
        _pack(status, error_details_pb2.QuotaFailure(violations=[violation]))
    if refusal.violations:
        room = _DETAILS_BYTES - status.ByteSize() - 128
        _pack(status, _bad_request(refusal.violations, room))
    return status


def job_status(error: JobError) -> status_pb2.Status:
    """Return the status of a failed job."""
    code = _CODES.get(error.reason, grpc.StatusCode.INTERNAL)
    return to_status(Refusal(code, error.reason, error.message, error.metadata))


async def abort(context: grpc.aio.ServicerContext[Any, Any], refusal: Refusal) -> Never:
    """End a call with a refusal, keeping the trailing metadata that are set."""
    status = to_status(refusal)
    details = ((STATUS_DETAILS, status.SerializeToString()),)
    await context.abort(refusal.code, status.message, (*context.trailing_metadata(), *details))


def _bad_request(violations: Sequence[FieldViolation], room: int) -> error_details_pb2.BadRequest:
    message = error_details_pb2.BadRequest()
    for index, violation in enumerate(violations):
        message.field_violations.add(
            field=violation.path[:_VALUE_CHARACTERS],
            description=violation.description[:_VALUE_CHARACTERS],
            reason=violation.reason,
        )
        if message.ByteSize() > room:
            del message.field_violations[-1]
            message.field_violations.add(
                description=f"and {len(violations) - index} more violations"
            )
            break
    return message


def _pack(status: status_pb2.Status, detail: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _cut_bytes(text: str, size: int) -> str:
    encoded = text.encode()
    if len(encoded) <= size:
        return text
    return encoded[: size - 3].decode(errors="ignore") + "..."
