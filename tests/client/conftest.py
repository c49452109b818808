"""A scripted server on a real socket, and a client of it that does not wait long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archpress_client import Client, Retry
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
def client(server: ScriptedServer) -> Iterator[Client]:
    with Client(server.target, retry=Retry(initial_seconds=0.01, max_seconds=0.05)) as client:
        yield client
