"""Who a caller is, by token and by certificate, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archpress_server.auth.authenticator import Authenticator
from archpress_server.auth.callers import ANYONE, Caller
from archpress_server.auth.credentials import Credential, Credentials, digest_of, new_token
from archpress_server.auth.errors import AuthReason, ForbiddenError, UnknownCallerError
from archpress_server.auth.reloaded import Reloaded
from archpress_server.auth.scopes import Scope
from archpress_server.auth.token_file import read_tokens, write_tokens

NOW = datetime(2026, 11, 1, tzinfo=UTC)
READ = frozenset({Scope.READ})
TOKEN, OLD, REVOKED = new_token(), new_token(), new_token()


def bearer(token: str) -> list[tuple[str, str | bytes]]:
    return [("user-agent", "x"), ("authorization", f"Bearer {token}")]


def of(token: str, principal: str = "ci") -> Credential:
    return Credential(principal=principal, scopes=READ, sha256=digest_of(token) or "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.json"
    write_tokens(
        path,
        Credentials(
            [
                of(TOKEN),
                of(OLD).model_copy(update={"expire_time": NOW}),
                of(REVOKED).model_copy(update={"revoke_time": NOW - timedelta(seconds=1)}),
                Credential(principal="robot", scopes=READ, certificate="robot.example"),
            ]
        ),
    )
    return path


@pytest.fixture
def credentials(path: Path) -> Reloaded[Credentials]:
    return Reloaded("tokens", [path], lambda: read_tokens(path), lambda what, failed: None)


@pytest.fixture
def authenticator(credentials: Reloaded[Credentials]) -> Authenticator:
    return Authenticator(credentials, lambda: NOW)


def test_a_token_names_its_principal(authenticator: Authenticator) -> None:
    caller = authenticator.caller_of(bearer(TOKEN), {})
    assert (caller.principal, caller.scopes) == ("ci", READ)
    assert authenticator.caller_of([("authorization", f"bEARER  {TOKEN}")], {}) == caller


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ([], AuthReason.TOKEN_MISSING),
        ([("authorization", "")], AuthReason.TOKEN_INVALID),
        ([("authorization", TOKEN)], AuthReason.TOKEN_INVALID),
        ([("authorization", f"Basic {TOKEN}")], AuthReason.TOKEN_INVALID),
        (bearer(new_token()), AuthReason.TOKEN_INVALID),
        (bearer(TOKEN) * 2, AuthReason.TOKEN_INVALID),
        (bearer(OLD), AuthReason.TOKEN_EXPIRED),
        (bearer(REVOKED), AuthReason.TOKEN_REVOKED),
    ],
)
def test_others_are_told_why(
    authenticator: Authenticator, metadata: list[tuple[str, str | bytes]], reason: AuthReason
) -> None:
    with pytest.raises(UnknownCallerError) as caught:
        authenticator.caller_of(metadata, {})
    assert caught.value.reason is reason
    assert TOKEN not in str(caught.value)


def test_a_certificate_names_a_principal_unless_a_token_does(authenticator: Authenticator) -> None:
    connection = {"x509_subject_alternative_name": [b"other", b"robot.example"]}
    assert authenticator.caller_of([], connection).principal == "robot"
    assert authenticator.caller_of([], {"x509_common_name": [b"robot.example"]}) is not None
    assert authenticator.caller_of(bearer(TOKEN), connection).principal == "ci"
    with pytest.raises(UnknownCallerError) as caught:
        authenticator.caller_of(bearer(new_token()), connection)
    assert caught.value.reason is AuthReason.TOKEN_INVALID
    with pytest.raises(UnknownCallerError) as caught:
        authenticator.caller_of([], {"x509_common_name": [b"stranger"]})
    assert caught.value.reason is AuthReason.CERTIFICATE_UNKNOWN


def test_tokens_come_and_go_without_a_restart(
    authenticator: Authenticator, credentials: Reloaded[Credentials], path: Path
) -> None:
    caller = authenticator.caller_of(bearer(TOKEN), {})
    assert authenticator.renewed(caller) == caller
    added = new_token()
    write_tokens(path, Credentials([of(added, "new")]))
    assert credentials.refresh()
    assert authenticator.caller_of(bearer(added), {}).principal == "new"
    with pytest.raises(UnknownCallerError):
        authenticator.caller_of(bearer(TOKEN), {})
    with pytest.raises(UnknownCallerError) as caught:
        authenticator.renewed(caller)
    assert caught.value.reason is AuthReason.TOKEN_REVOKED


def test_without_credentials_everybody_may_do_everything() -> None:
    authenticator = Authenticator(None)
    assert authenticator.caller_of(bearer("anything"), {}) is ANYONE
    assert authenticator.renewed(ANYONE).sees_all
    ANYONE.check_scope(Scope.COMPRESS)


def test_admins_may_do_all_and_others_what_their_scopes_say() -> None:
    admin = Caller("root", frozenset({Scope.ADMIN}))
    admin.check_scope(Scope.COMPRESS)
    admin.check_owner("jobs/1", "ci")
    reader = Caller("ci", READ)
    reader.check_scope(Scope.READ)
    reader.check_owner("jobs/1", "ci")
    with pytest.raises(ForbiddenError, match=r"'compress' is needed.*has: read") as caught:
        reader.check_scope(Scope.COMPRESS)
    assert caught.value.metadata == {"scope": "compress"}
    with pytest.raises(ForbiddenError, match="belongs to another principal, or does not exist"):
        reader.check_owner("jobs/1", "")
