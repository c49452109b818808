"""The client against a server with certificates, and tokens through both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from archpress_client import (
    ArchpressError,
    AuthenticationError,
    Client,
    Retry,
    ServerInfo,
    Timeouts,
    Tls,
    UnavailableError,
)
from archpress_server.catalog import load_catalog
from archpress_server.config import ServerConfig
from archpress_server.server import Server
from archpress_server.state import prepare_state
from tests.server.auth.certificates import Authority, Files
from tests.server.service.principals import Principals

ONCE = Retry(request_attempts=1)
SOON = Timeouts(request_seconds=10.0)


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Files:
    files = Files(tmp_path)
    files.write(authority.issue("localhost"), authority.pem)
    return files


@pytest.fixture
def principals(tmp_path: Path) -> Principals:
    return Principals(tmp_path / "tokens.json")


@pytest.fixture(params=["server's certificate", "client's too"])
async def server(
    request: pytest.FixtureRequest, tmp_path: Path, files: Files, principals: Principals
) -> AsyncIterator[Server]:
    mutual = request.param == "client's too"
    config = ServerConfig(
        port=0,
        metrics_port=0,
        workers=0,
        state_dir=tmp_path / "state",
        tls_certificate=str(files.certificate),
        tls_key=str(files.key),
        tls_client_ca=str(files.ca) if mutual else "",
        auth="token",
        tokens_file=str(principals.path),
    )
    prepare_state(config)
    server = Server(config, load_catalog(config), warm=False)
    await server.start()
    yield server
    await server.stop()


def mutual(server: Server) -> bool:
    return bool(server.config.tls_client_ca)


async def info(server: Server, tls: Tls | None, token: str | None = None) -> ServerInfo:
    def call() -> ServerInfo:
        target = f"localhost:{server.port}"
        with Client(target, tls=tls, token=token, timeouts=SOON, retry=ONCE) as client:
            return client.info()

    return await asyncio.to_thread(call)


def client_tls(server: Server, authority: Authority, name: str = "laptop.example") -> Tls:
    if not mutual(server):
        return Tls(root_certificates=authority.pem)
    chain, key = authority.issue(name)
    return Tls(root_certificates=authority.pem, certificate_chain=chain, private_key=key)


async def test_a_token_passes_through_tls(
    server: Server, authority: Authority, principals: Principals
) -> None:
    tls = client_tls(server, authority)
    assert (await info(server, tls, principals.tokens["alice"])).server_version
    with pytest.raises(AuthenticationError) as caught:
        await info(server, tls)
    expected = "CERTIFICATE_UNKNOWN" if mutual(server) else "TOKEN_MISSING"
    assert caught.value.reason == expected


async def test_a_certificate_that_is_registered_needs_no_token(
    server: Server, authority: Authority
) -> None:
    tls = client_tls(server, authority, "robot.example")
    if mutual(server):
        assert (await info(server, tls)).server_version
    else:
        with pytest.raises(AuthenticationError):
            await info(server, tls)


async def test_strangers_do_not_get_through(server: Server, authority: Authority) -> None:
    other = Authority()
    # A server that the client does not trust, and one that talks TLS to a client that does not.
    trusts_other = client_tls(server, authority)
    strangers: list[Tls | None] = [None, Tls(root_certificates=other.pem)]
    if mutual(server):
        chain, key = other.issue("robot.example")
        strangers += [
            Tls(root_certificates=authority.pem),
            Tls(root_certificates=authority.pem, certificate_chain=chain, private_key=key),
        ]
    for tls in strangers:
        with pytest.raises(UnavailableError):
            await info(server, tls)
    wrong_name = Tls(
        root_certificates=trusts_other.root_certificates,
        certificate_chain=trusts_other.certificate_chain,
        private_key=trusts_other.private_key,
        server_name="elsewhere.example",
    )
    with pytest.raises(UnavailableError):
        await info(server, wrong_name)


async def test_new_files_are_seen_without_a_restart(
    server: Server, authority: Authority, files: Files, principals: Principals
) -> None:
    token = principals.tokens["alice"]
    old = client_tls(server, authority)
    await info(server, old, token)
    # A key that does not fit: the old ones stay.
    files.key.write_bytes(authority.issue("localhost")[1])
    await until(lambda: server.metrics.reload_failures.labels("certificates")._value.get() == 1)
    await info(server, old, token)
    ends = server.metrics.certificate_end._value.get()
    assert 29 * 86_400 < ends - time.time() <= 30 * 86_400
    newer = Authority()
    files.write(newer.issue("localhost", days=20), newer.pem)
    new = client_tls(server, newer)
    await until(lambda: server.metrics.certificate_end._value.get() < ends)
    await info(server, new, token)
    with pytest.raises(ArchpressError):
        await info(server, old, token)


async def until(condition: object) -> None:
    assert callable(condition)
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come to pass")
