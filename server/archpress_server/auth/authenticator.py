"""`Authenticator`: from what a call brings along to its caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from archpress_server.auth.callers import ANYONE, Caller
from archpress_server.auth.credentials import Credential, Credentials
from archpress_server.auth.errors import AuthReason, unknown_caller
from archpress_server.auth.reloaded import Reloaded

_SCHEME = "bearer"
_NAMES = ("x509_subject_alternative_name", "x509_common_name")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Authenticator:
    """Knows callers by their token, or without one by their certificate."""

    def __init__(
        self,
        credentials: Reloaded[Credentials] | None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        """Ask for these credentials; with None everybody may do everything."""
        self._credentials = credentials
        self._clock = clock

    def caller_of(
        self,
        metadata: Iterable[tuple[str, str | bytes]],
        connection: Mapping[str, Iterable[bytes]],
    ) -> Caller:
        """Return whose call it is, from its metadata and the facts of its connection.

        A token, once given, decides alone: a wrong one is not made good by a certificate.

        Raises:
            UnknownCallerError: nobody's.
        """
        if self._credentials is None:
            return ANYONE
        values = [value for key, value in metadata if key == "authorization"]
        if values:
            found = self._credentials.value.by_token(_token(values))
            missing = AuthReason.TOKEN_INVALID
        else:
            names = _names(connection)
            found = self._credentials.value.by_names(names)
            missing = AuthReason.CERTIFICATE_UNKNOWN if names else AuthReason.TOKEN_MISSING
        return self._caller(found, missing)

    def renewed(self, caller: Caller) -> Caller:
        """Return a caller as it is by now.

        Raises:
            UnknownCallerError: its credential has expired, or was revoked or removed.
        """
        if self._credentials is None:
            return caller
        found = self._credentials.value.by_id(caller.credential)
        return self._caller(found, AuthReason.TOKEN_REVOKED)

    def _caller(self, found: Credential | None, missing: AuthReason) -> Caller:
        if found is None:
            raise unknown_caller(missing)
        return found.caller(self._clock())


def _token(values: Sequence[str | bytes]) -> str:
    if len(values) != 1 or not isinstance(values[0], str):
        return ""
    scheme, _, token = values[0].partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else ""


def _names(connection: Mapping[str, Iterable[bytes]]) -> list[str]:
    found = (name for key in _NAMES for name in connection.get(key, ()))
    return [name.decode(errors="replace") for name in found if name]
