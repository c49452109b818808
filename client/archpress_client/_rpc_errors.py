"""From gRPC's errors to the client's own: the one mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from archpress_client._durations import duration_from_proto
from archpress_client._errors import (
    ArchpressError,
    AuthenticationError,
    ConflictError,
    DownloadError,
    FieldViolation,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RequestTimeoutError,
    ServerError,
    UnavailableError,
    UnsupportedError,
)

_DETAILS_KEY = "grpc-status-details-bin"

_BY_CODE: Mapping[grpc.StatusCode, type[ArchpressError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.FAILED_PRECONDITION: UnsupportedError,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: QuotaExceededError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    # Not cancelled by us: a call that we cancel is never looked at again.
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: RequestTimeoutError,
    grpc.StatusCode.DATA_LOSS: DownloadError,
}


def may_repeat(error: ArchpressError) -> bool:
    """Return whether the same call may go better: after a fault on the way, or a wait.

    Proxies and dying servers answer INTERNAL or UNKNOWN without any details, as gRPC does itself
    where a connection breaks while a message is written; an archpress server always gives a reason.
    To who calls too often it says when to come again.
    """
    if isinstance(error, QuotaExceededError):
        return error.reason == "RATE_LIMITED" and error.retry_after_seconds is not None
    return isinstance(error, UnavailableError) or (type(error) is ServerError and not error.reason)


def is_unknown(error: ArchpressError | None) -> bool:
    """Return whether the server knows no such job; of callers with tokens it says NOT_OWNER."""
    not_owner = isinstance(error, PermissionDeniedError) and error.reason == "NOT_OWNER"
    return not_owner or isinstance(error, NotFoundError)


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Raise the package's own errors instead of gRPC's."""
    try:
        yield
    except grpc.RpcError as error:
        raise error_from_rpc(error) from error


def error_from_rpc(error: grpc.RpcError) -> ArchpressError:
    """Return the error that says the same as `error`."""
    # Both the sync and the asyncio kind have the methods of a call.
    call = cast(grpc.Call, error)
    details = _Details(call.trailing_metadata())
    kind = _BY_CODE.get(call.code(), ServerError)
    if details.reason == "LIMIT_EXCEEDED":
        kind = InvalidRequestError
    message = call.details() or f"the server answered {call.code().name}"
    if call.code() is grpc.StatusCode.UNIMPLEMENTED and not details.reason:
        # gRPC's own answer, where there is no such method.
        message = (
            "the server does not know this request: it is older or newer than this client, or no "
            "archpress server"
        )
    result = kind(
        message,
        reason=details.reason,
        metadata=details.metadata,
        retry_after_seconds=details.retry_after_seconds,
    )
    if isinstance(result, InvalidRequestError):
        result.violations = tuple(details.violations)
    return result


def reason_of(status: status_pb2.Status) -> tuple[str, Mapping[str, str]]:
    """Return the ErrorInfo of a status: its reason and metadata."""
    details = _Details(())
    details.read(status)
    return details.reason, details.metadata


class _Details:
    """The parts of a google.rpc.Status that the client uses."""

    def __init__(self, trailers: Sequence[tuple[str, str | bytes]] | None) -> None:
        self.reason = ""
        self.metadata: dict[str, str] = {}
        self.violations: list[FieldViolation] = []
        self.retry_after_seconds: float | None = None
        for key, value in trailers or ():
            if key == _DETAILS_KEY and isinstance(value, bytes):
                status = status_pb2.Status()
                try:
                    status.ParseFromString(value)
                    self.read(status)
                except DecodeError:
                    # Details are a help; without them the code and the message still stand.
                    continue

    def read(self, status: status_pb2.Status) -> None:
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        for detail in status.details:
            if detail.Unpack(info):
                self.reason = info.reason
                self.metadata = dict(info.metadata)
            elif detail.Unpack(bad_request):
                self.violations += [
                    FieldViolation(fault.field, fault.description)
                    for fault in bad_request.field_violations
                ]
            elif detail.Unpack(retry):
                self.retry_after_seconds = duration_from_proto(retry.retry_delay)
