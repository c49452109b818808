"""A real server process with the tiny embeddings and data set."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from archpress_client import Client, UnavailableError
from tests.ports import free_port


def start_server(
    state: Path, embeddings: Sequence[Path], dataset: Path, port: int
) -> subprocess.Popen[bytes]:
    """Start `archpress-server` and return once it answers."""
    state.mkdir(parents=True, exist_ok=True)
    log = (state / "server.log").open("ab")
    server = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("archpress-server")),
            *("--port", str(port), "--metrics-port", "0"),
            *("--state-dir", str(state), "--embeddings-dir", ",".join(map(str, embeddings))),
            *("--dataset-files", f"tiny={dataset}", "--heartbeat-seconds", "0.5"),
            *("--download-datasets", "false"),
        ],
        stdout=log,
        stderr=log,
    )
    log.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with Client(f"127.0.0.1:{port}") as client:
                client.info()
            return server
        except UnavailableError:
            time.sleep(0.2)
    server.kill()
    server.wait()
    raise RuntimeError(f"the server did not start:\n{(state / 'server.log').read_text()}")


def stop_server(server: subprocess.Popen[bytes]) -> int:
    """Ask a server to stop and return its exit code."""
    server.send_signal(signal.SIGTERM)
    try:
        return server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
        raise


@pytest.fixture(scope="session")
def target(
    tiny_embedding: Path,
    tiny_residual_embedding: Path,
    tiny_dataset: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The address of a running server."""
    state = tmp_path_factory.mktemp("e2e") / "state"
    port = free_port()
    server = start_server(state, (tiny_embedding, tiny_residual_embedding), tiny_dataset, port)
    yield f"127.0.0.1:{port}"
    assert stop_server(server) == 0
