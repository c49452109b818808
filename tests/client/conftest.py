"""A scripted server on a real socket, and clients of it, of both kinds, that do not wait long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archpress_client import Client, Retry
from tests.client.driven import Connect
from tests.client.scripted import ScriptedServer


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVER", "TOKEN", "INSECURE", "CA"):
        monkeypatch.delenv(f"ARCHPRESS_{name}", raising=False)
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: ScriptedServer, connect: Connect) -> Iterator[Client]:
    retry = Retry(initial_seconds=0.01, max_seconds=0.05)
    with connect(server.target, retry=retry) as client:
        yield client
