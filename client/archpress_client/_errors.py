"""Everything that the client raises; what ends with a job is in `_job_errors`.

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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


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
