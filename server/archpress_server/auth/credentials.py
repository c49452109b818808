"""What principals prove themselves with: tokens, of which only hashes are kept, and certificates.

The hash is a plain SHA-256. Slow, salted hashes protect secrets that people choose, since those can
be guessed; a token is 256 random bits, which cannot, and is looked up at every call.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from archpress_server.auth.callers import Caller
from archpress_server.auth.errors import AuthReason, unknown_caller
from archpress_server.auth.scopes import Scope

TOKEN_PREFIX = "ap_"
_TOKEN = re.compile(r"ap_[A-Za-z0-9_-]{43}")
_Principal = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@:/-]{0,127}$")]


def new_token() -> str:
    """Return a token that nobody can guess; the prefix lets scanners find leaked ones."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> str | None:
    """Return what is kept of a token; None if it does not even look like one."""
    if not _TOKEN.fullmatch(token):
        return None
    return hashlib.sha256(token.encode()).hexdigest()


class Credential(BaseModel):
    """One line of the tokens file: a token's hash, or a name in verified client certificates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")] = Field(
        default_factory=lambda: secrets.token_hex(6)
    )
    principal: _Principal
    scopes: frozenset[Scope] = Field(min_length=1)
    sha256: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = ""
    certificate: Annotated[str, StringConstraints(max_length=255)] = ""
    create_time: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    expire_time: AwareDatetime | None = None
    revoke_time: AwareDatetime | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if bool(self.sha256) == bool(self.certificate):
            raise ValueError("needs either sha256 or certificate")
        return self

    def caller(self, now: datetime) -> Caller:
        """Return who comes with it.

        Raises:
            UnknownCallerError: it is revoked or has expired.
        """
        if self.revoke_time is not None and self.revoke_time <= now:
            raise unknown_caller(AuthReason.TOKEN_REVOKED)
        if self.expire_time is not None and self.expire_time <= now:
            raise unknown_caller(AuthReason.TOKEN_EXPIRED)
        return Caller(self.principal, self.scopes, self.id)


class Credentials:
    """All credentials of a server, to be found by what a caller shows."""

    def __init__(self, items: Iterable[Credential] = ()) -> None:
        """Keep the credentials."""
        self.items = tuple(items)
        """In the order of the file."""
        self._by_id = {item.id: item for item in self.items}
        self._by_digest = {item.sha256: item for item in self.items if item.sha256}
        self._by_name = {item.certificate: item for item in self.items if item.certificate}

    def by_id(self, identifier: str) -> Credential | None:
        """Return the credential with an id."""
        return self._by_id.get(identifier)

    def by_token(self, token: str) -> Credential | None:
        """Return the credential of a token."""
        digest = digest_of(token)
        return None if digest is None else self._by_digest.get(digest)

    def by_names(self, names: Iterable[str]) -> Credential | None:
        """Return the credential of the first of a certificate's names that has one."""
        return next((self._by_name[name] for name in names if name in self._by_name), None)
