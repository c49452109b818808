"""Certificates that a server may use, and those that it may not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archpress_server.auth.setup import is_loopback, open_security
from archpress_server.auth.tls import CertificateError, TlsFiles, read_certificates
from archpress_server.auth.token_file import TokenFileError
from archpress_server.config import ServerConfig
from tests.server.auth.certificates import Authority, Files

ODD_KEY = b"""-----BEGIN EC PRIVATE KEY-----
MD4CAQEEDqHsQ7ca873VvN9iuJ35oAcGBSuBBAAGoSADHgAEuIJs83IT0s/A5w6W
hRC0CFIT5rNvHfVUza3hzg==
-----END EC PRIVATE KEY-----
"""
"""On the curve secp112r1."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Files:
    files = Files(tmp_path)
    files.write(authority.issue("localhost"), authority.pem)
    return files


def read(files: Files) -> datetime:
    return read_certificates(TlsFiles(files.certificate, files.key, files.ca)).end


def test_files_that_fit_are_taken(files: Files) -> None:
    days = (read(files) - datetime.now(UTC)) / timedelta(days=1)
    assert 29 < days <= 30


def test_a_key_of_another_certificate_is_refused(files: Files, authority: Authority) -> None:
    files.key.write_bytes(authority.issue("localhost")[1])
    with pytest.raises(CertificateError, match=r"tls\.key: is not the key of .*tls\.crt"):
        read(files)


@pytest.mark.parametrize(("days", "part"), [(-1, "has expired on"), (90, "is not valid before")])
def test_a_certificate_of_another_time_is_refused(
    files: Files, authority: Authority, days: int, part: str
) -> None:
    files.write(authority.issue("localhost", days=days))
    with pytest.raises(CertificateError, match=rf"tls\.crt: {part} 20\d\d-"):
        read(files)


def test_a_key_that_no_library_knows_is_named(files: Files) -> None:
    files.key.write_bytes(ODD_KEY)
    with pytest.raises(CertificateError, match=r"tls\.key: .*1\.3\.132\.0\.6"):
        read(files)


@pytest.mark.parametrize("name", ["certificate", "key", "ca"])
def test_files_that_are_missing_or_no_pem_are_named(files: Files, name: str) -> None:
    path: Path = getattr(files, name)
    path.write_bytes(b"-----BEGIN NONSENSE-----")
    with pytest.raises(CertificateError, match=rf"{path.name}: no .* in PEM"):
        read(files)
    path.unlink()
    with pytest.raises(CertificateError, match=rf"{path.name}: No such file"):
        read(files)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"tls_certificate": "a"}, "tls_key: must be given with tls_certificate"),
        ({"tls_key": "a"}, "tls_certificate: must be given with tls_key"),
        ({"tls_client_ca": "a"}, "tls_client_ca: needs tls_certificate"),
        ({"auth": "token", "host": "0.0.0.0"}, "tokens would pass in clear text on 0.0.0.0"),
        ({"auth": "token"}, "make a token first: archpress-server token create"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    config: ServerConfig, given: dict[str, str], part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        open_security(config.model_copy(update=given), lambda what, failed: None)


def test_clear_text_is_allowed_where_it_is_said(config: ServerConfig) -> None:
    update = {"auth": "token", "host": "0.0.0.0", "allow_plaintext_tokens": True}
    with pytest.raises(TokenFileError):
        open_security(config.model_copy(update=update), lambda what, failed: None)


def test_an_open_server_on_a_network_is_warned_about(
    config: ServerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    open_security(config, lambda what, failed: None)
    assert capsys.readouterr().out == ""
    open_security(config.model_copy(update={"host": "0.0.0.0"}), lambda what, failed: None)
    assert "set auth=token" in capsys.readouterr().out


def test_loopback_is_told_from_the_rest() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "localhost", "[::1]", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "[::]", "10.0.0.1", "example.com")))
