"""Why a caller is turned away, under the reasons of the API."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class AuthReason(StrEnum):
    """The API's ErrorReason of callers; the first five mean that nobody known calls."""

    TOKEN_MISSING = "TOKEN_MISSING"
    TOKEN_INVALID = "TOKEN_INVALID"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    TOKEN_REVOKED = "TOKEN_REVOKED"
    CERTIFICATE_UNKNOWN = "CERTIFICATE_UNKNOWN"
    SCOPE_MISSING = "SCOPE_MISSING"
    NOT_OWNER = "NOT_OWNER"


RATE_LIMITED = "RATE_LIMITED"


class AuthError(Exception):
    """Base of what a caller is told; the message never holds a secret."""

    def __init__(
        self, reason: AuthReason, message: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Keep the parts."""
        super().__init__(message)
        self.reason = reason
        self.metadata = dict(metadata or {})


class UnknownCallerError(AuthError):
    """Nobody known calls: no valid token, no known certificate."""


class ForbiddenError(AuthError):
    """The caller is known and may not do this."""


class RateLimitError(Exception):
    """A principal calls too often."""

    def __init__(self, principal: str, per_second: float, retry_seconds: float) -> None:
        """Keep whom it is about, what is allowed, and when the next call may come."""
        super().__init__(f"more than {per_second:g} requests a second")
        self.principal = principal
        self.per_second = per_second
        self.retry_seconds = retry_seconds


def unknown_caller(reason: AuthReason) -> UnknownCallerError:
    """Return the error of a caller who is not known."""
    return UnknownCallerError(reason, _TEXTS[reason])


def not_owner(name: str) -> ForbiddenError:
    """Return the error of a job or artifact that is another's, or is not there at all."""
    text = f"{name} belongs to another principal, or does not exist"
    return ForbiddenError(AuthReason.NOT_OWNER, text, {"name": name})


_TEXTS = {
    AuthReason.TOKEN_MISSING: "this server asks for a token: authorization: Bearer ap_...",
    AuthReason.TOKEN_INVALID: "the token is not one of this server's",
    AuthReason.TOKEN_EXPIRED: "the token has expired",
    AuthReason.TOKEN_REVOKED: "the token was revoked",
    AuthReason.CERTIFICATE_UNKNOWN: "the client's certificate names no principal of this server",
}
