"""`archpress-server token`: make, show and revoke what callers prove themselves with."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from archpress_server.admin.tables import print_table
from archpress_server.auth.credentials import Credential, Credentials, digest_of, new_token
from archpress_server.auth.scopes import Scope
from archpress_server.auth.token_file import (
    TokenFileError,
    read_tokens,
    tokens_locked,
    write_tokens,
)
from archpress_server.config import ServerConfig, add_flags, explain

if TYPE_CHECKING:
    from pathlib import Path

    from archpress_server.admin import Commands

_SCOPES = ",".join((Scope.READ, Scope.COMPRESS))


def add_token_commands(commands: Commands) -> None:
    """Add `create`, `list` and `revoke`."""
    create = commands.add_parser("create", help="make a token and print it, once")
    create.add_argument("--principal", required=True, help="on whose behalf its calls run")
    create.add_argument(
        "--scopes",
        default=_SCOPES,
        help=f"of {', '.join(Scope)}, comma-separated (default {_SCOPES})",
    )
    create.add_argument(
        "--expires-days", type=float, default=365.0, help="its life; 0 is for ever (default 365)"
    )
    create.add_argument(
        "--certificate",
        metavar="NAME",
        default="",
        help="make no token: client certificates of this name (SAN or CN) are the principal's",
    )
    create.set_defaults(run=_create)
    shown = commands.add_parser("list", help="show all tokens")
    shown.set_defaults(run=_list)
    revoke = commands.add_parser("revoke", help="end a token; servers notice within two seconds")
    revoke.add_argument("id", help="as `token list` shows it")
    revoke.set_defaults(run=_revoke)
    for command in (create, shown, revoke):
        add_flags(command)


def _create(config: ServerConfig, arguments: argparse.Namespace) -> int:
    token = "" if arguments.certificate else new_token()
    now = datetime.now(UTC).replace(microsecond=0)
    days = arguments.expires_days
    try:
        if not 0 <= days <= 36_500:
            raise ValueError(f"expires-days: is {days:g}, must be 0 to 36500")
        credential = Credential.model_validate(
            {
                "principal": arguments.principal,
                "scopes": [scope for scope in arguments.scopes.split(",") if scope],
                "sha256": digest_of(token) or "",
                "certificate": arguments.certificate,
                "create_time": now,
                "expire_time": now + timedelta(days=days) if days else None,
            }
        )
    except ValueError as error:
        raise TokenFileError("; ".join(explain(error))) from None
    with tokens_locked(config.tokens_path):
        items = _items(config.tokens_path)
        taken = [item for item in items if item.certificate and _same_name(item, credential)]
        if taken:
            raise TokenFileError(f"certificate: {taken[0].id} has this name, revoke it first")
        # A revoked name would stand in the way of its successor.
        kept = [item for item in items if not item.certificate or item.revoke_time is None]
        write_tokens(config.tokens_path, Credentials([*kept, credential]))
    if token:
        print(f"{credential.id}, kept as a hash; this is shown once:", file=sys.stderr)
        print(token)
    else:
        print(f"{credential.id}", file=sys.stderr)
    return 0


def _list(config: ServerConfig, arguments: argparse.Namespace) -> int:
    rows = [
        (
            item.id,
            item.principal,
            ",".join(sorted(item.scopes)),
            item.certificate or "token",
            _state(item),
        )
        for item in read_tokens(config.tokens_path).items
    ]
    print_table(("id", "principal", "scopes", "shown by", "state"), rows)
    return 0


def _revoke(config: ServerConfig, arguments: argparse.Namespace) -> int:
    with tokens_locked(config.tokens_path):
        credentials = read_tokens(config.tokens_path)
        found = credentials.by_id(arguments.id)
        if found is None:
            raise TokenFileError(f"id: there is no token {arguments.id[:100]!r}")
        if found.revoke_time is None:
            now = datetime.now(UTC).replace(microsecond=0)
            ended = found.model_copy(update={"revoke_time": now})
            items = [ended if item is found else item for item in credentials.items]
            write_tokens(config.tokens_path, Credentials(items))
    return 0


def _items(path: Path) -> tuple[Credential, ...]:
    return read_tokens(path).items if path.exists() else ()


def _same_name(item: Credential, other: Credential) -> bool:
    return item.certificate == other.certificate and item.revoke_time is None


def _state(item: Credential) -> str:
    if item.revoke_time is not None:
        return f"revoked {item.revoke_time:%Y-%m-%d}"
    if item.expire_time is None:
        return "valid for ever"
    verb = "valid until" if item.expire_time > datetime.now(UTC) else "expired"
    return f"{verb} {item.expire_time:%Y-%m-%d}"
