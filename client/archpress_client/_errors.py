"""Everything that the client raises, and the one mapping from gRPC to it.

ArchpressError
|- InvalidRequestError (ValueError)      refused by client or server; lists the violations
|- UnsupportedError                      the server lacks the function or the embedding
|- NotFoundError (LookupError)           no such job or artifact
|- ConflictError                         the request_id belongs to another request
|- AuthenticationError                   no or a wrong token
|- PermissionDeniedError                 the token does not allow it
|- QuotaExceededError                    too many requests or jobs
|- UnavailableError (ConnectionError)    not reachable, or going away
|- RequestTimeoutError (TimeoutError)    no answer in time
|- ServerError                           a fault of the server
|- DownloadError                         the bytes are not those that were promised
|- ClientClosedError                     used after close
`- JobError                              the job ended without a result that meets the budget
   |- JobFailedError
   `- JobCancelledError
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from archpress_client._durations import duration_from_proto

if TYPE_CHECKING:
    from archpress_client._types import Job, Result

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One fault of a request: the field's path in the API, and what is wrong with it."""

    field: str
    description: str


class ArchpressError(Exception):
    """Base of all errors of this package.

    `reason` is the API's ErrorReason, such as "BUDGET_INFEASIBLE", or empty; `metadata` holds what
    helps a program; `retry_after_seconds` is set where the same request may work later.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        """Keep the parts."""
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.retry_after_seconds = retry_after_seconds


class InvalidRequestError(ArchpressError, ValueError):
    """The request is wrong; `violations` lists every fault that was found."""

    violations: tuple[FieldViolation, ...] = ()

    @classmethod
    def of(cls, violations: Sequence[FieldViolation], *, reason: str = "") -> InvalidRequestError:
        """Return the error for these faults."""
        text = "; ".join(f"{fault.field}: {fault.description}" for fault in violations)
        error = cls(text, reason=reason)
        error.violations = tuple(violations)
        return error


class UnsupportedError(ArchpressError):
    """The server does not offer this, for instance has no embedding for the data set."""


class NotFoundError(ArchpressError, LookupError):
    """There is no such job or artifact."""


class ConflictError(ArchpressError):
    """The request_id was used before, with another request."""


class AuthenticationError(ArchpressError):
    """The server does not know who calls: the token is missing, wrong, expired or revoked.

    `reason` says which. Give the client a token that `archpress-server token create` made.
    """


class PermissionDeniedError(ArchpressError):
    """The caller may not do this.

    With the reason SCOPE_MISSING the token lacks the scope in `metadata`; with NOT_OWNER the job or
    artifact is another principal's, or there is none.
    """


class QuotaExceededError(ArchpressError):
    """The caller has too many requests or jobs; the same may work later."""


class UnavailableError(ArchpressError, ConnectionError):
    """The server cannot be reached, or is going away."""


class RequestTimeoutError(ArchpressError, TimeoutError):
    """There was no answer in time; a job goes on all the same."""


class ServerError(ArchpressError):
    """The server has a fault; the message holds what to quote to its operator."""


class DownloadError(ArchpressError):
    """The bytes that came are not those that were promised."""


class ClientClosedError(ArchpressError):
    """The client was closed before."""


class JobError(ArchpressError):
    """The job ended without a result that meets the budget; `job` is its final state."""

    def __init__(
        self, message: str, *, job: Job, reason: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Keep the job."""
        super().__init__(message, reason=reason, metadata=metadata)
        self.job = job


class JobFailedError(JobError):
    """The job failed; with BUDGET_UNREACHABLE, `result` is the best network that was found."""

    @property
    def result(self) -> Result | None:
        """The best network within the hard budgets, where there is one."""
        return self.job.result


class JobCancelledError(JobError):
    """The job was cancelled."""


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


def is_transport_fault(error: ArchpressError) -> bool:
    """Return whether the same call may go better: the fault lies between client and handler.

    Proxies and dying servers answer INTERNAL or UNKNOWN without any details, as gRPC does itself
    where a connection breaks while a message is written; an archpress server always gives a reason.
    """
    return isinstance(error, UnavailableError) or (type(error) is ServerError and not error.reason)


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
