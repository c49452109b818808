"""Tokens and the file that holds their hashes."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archpress_server.auth.credentials import Credential, Credentials, digest_of, new_token
from archpress_server.auth.scopes import Scope
from archpress_server.auth.token_file import (
    TokenFileError,
    read_tokens,
    tokens_locked,
    write_tokens,
)

READ = frozenset({Scope.READ})


def credential(token: str, **values: Any) -> Credential:
    return Credential(principal="ci", scopes=READ, sha256=digest_of(token) or "", **values)


def test_tokens_differ_and_carry_256_bits() -> None:
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(token.startswith("ap_") and len(token) == 46 for token in tokens)


@pytest.mark.parametrize("text", ["", "ap_", "ap_" + "a" * 42, "xx_" + "a" * 43, "ap_" + "é" * 43])
def test_what_looks_like_no_token_is_not_looked_up(text: str) -> None:
    assert digest_of(text) is None
    assert Credentials().by_token(text) is None


def test_the_file_keeps_hashes_for_its_owner_only(tmp_path: Path) -> None:
    path, token = tmp_path / "new" / "tokens.json", new_token()
    end = datetime.now(UTC) + timedelta(days=1)
    write_tokens(path, Credentials([credential(token, expire_time=end)]))
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = read_tokens(path).by_token(token)
    assert found is not None
    assert (found.principal, found.scopes, found.expire_time) == ("ci", READ, end)
    assert read_tokens(path).by_token(new_token()) is None


def test_a_mode_that_was_set_stays(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_tokens(path, Credentials())
    path.chmod(0o640)
    write_tokens(path, Credentials([credential(new_token())]))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with tokens_locked(path):
        assert len(read_tokens(path).items) == 1


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"principal": ""}, "principal"),
        ({"principal": "a b"}, "principal"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"sha256": "xyz"}, "sha256"),
        ({"sha256": ""}, "either sha256 or certificate"),
        ({"certificate": "a"}, "either sha256 or certificate"),
        ({"expire_time": "2026-01-01T00:00:00"}, "timezone"),
        ({"odd": 1}, "odd"),
    ],
)
def test_a_wrong_file_names_the_place(tmp_path: Path, change: dict[str, Any], part: str) -> None:
    path = tmp_path / "tokens.json"
    write_tokens(path, Credentials([credential(new_token())]))
    content = json.loads(path.read_text())
    content["credentials"][0] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(TokenFileError, match=part) as caught:
        read_tokens(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_json_or_missing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    with pytest.raises(TokenFileError, match="No such file"):
        read_tokens(path)
    path.write_text("{")
    with pytest.raises(TokenFileError, match="JSON"):
        read_tokens(path)


def test_two_credentials_of_one_token_are_refused(tmp_path: Path) -> None:
    path, token = tmp_path / "tokens.json", new_token()
    write_tokens(path, Credentials([credential(token), credential(token)]))
    with pytest.raises(TokenFileError, match="two credentials have the sha256"):
        read_tokens(path)
