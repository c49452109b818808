"""A tokens file with principals that tests know, and what they send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from archpress_server.auth.credentials import Credential, Credentials, digest_of, new_token
from archpress_server.auth.scopes import Scope
from archpress_server.auth.token_file import read_tokens, write_tokens


class Principals:
    """Writes tokens to a file; each has the scopes of its line below."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tokens: dict[str, str] = {}
        past = datetime.now(UTC) - timedelta(hours=1)
        both = (Scope.READ, Scope.COMPRESS)
        items = [
            self._made("alice", both),
            self._made("bob", both),
            self._made("reader", (Scope.READ,)),
            self._made("writer", (Scope.COMPRESS,)),
            self._made("admin", (Scope.ADMIN,)),
            self._made("expired", both).model_copy(update={"expire_time": past}),
            self._made("revoked", both).model_copy(update={"revoke_time": past}),
            Credential(principal="robot", scopes=frozenset(both), certificate="robot.example"),
        ]
        write_tokens(path, Credentials(items))

    def metadata(self, principal: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.tokens[principal]}"),)

    def change(self, principal: str, **values: object) -> None:
        items = [
            item.model_copy(update=values) if item.principal == principal else item
            for item in read_tokens(self.path).items
        ]
        write_tokens(self.path, Credentials(items))

    def remove(self, principal: str) -> None:
        items = [i for i in read_tokens(self.path).items if i.principal != principal]
        write_tokens(self.path, Credentials(items))

    def _made(self, principal: str, scopes: tuple[Scope, ...]) -> Credential:
        token = self.tokens[principal] = new_token()
        digest = digest_of(token)
        assert digest is not None
        return Credential(principal=principal, scopes=frozenset(scopes), sha256=digest)
