"""How both clients connect, what they send along, and how they close."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from archpress_client import (
    Client,
    ClientClosedError,
    InvalidRequestError,
    Retry,
    Tls,
    UnavailableError,
    UnsupportedError,
)
from tests.client.driven import Connect
from tests.client.scripted import ELSEWHERE, ScriptedServer
from tests.client.told_jobs import MODEL

SOON = Retry(initial_seconds=0.01, max_seconds=0.05)


def test_tokens_are_sent(connect: Connect, server: ScriptedServer) -> None:
    with connect(server.target, token="secret") as client:
        client.info()
        assert "secret" not in repr(client)
    assert server.metadata[-1]["authorization"] == "Bearer secret"


@pytest.mark.parametrize("token", ["ap_secret\n", "ap_s\u00e9cret"])
def test_a_token_that_no_call_can_carry_is_refused(connect: Connect, token: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^token: has a line break or other") as caught:
        connect("localhost:1", token=token)
    assert "cret" not in str(caught.value)


def test_nobody_there(connect: Connect) -> None:
    begin = time.monotonic()
    with connect("127.0.0.1:1", retry=SOON) as client, pytest.raises(UnavailableError):
        client.info()
    assert time.monotonic() - begin < 5


def test_a_server_of_another_version_is_told(connect: Connect) -> None:
    other = grpc.server(ThreadPoolExecutor(1))
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    with (
        connect(f"127.0.0.1:{port}", retry=SOON) as client,
        pytest.raises(UnsupportedError, match="older or newer than this client"),
    ):
        client.info()
    other.stop(0).wait()


@pytest.mark.parametrize(
    ("host", "settings"),
    [
        (ELSEWHERE, {}),
        (ELSEWHERE, {"tls": Tls(), "insecure": True}),
        ("127.0.0.1", {"tls": Tls()}),
    ],
)
def test_a_server_without_tls_gets_nothing_that_was_to_be_encrypted(
    connect: Connect, server: ScriptedServer, host: str, settings: dict[str, Any]
) -> None:
    with (
        connect(f"{host}:{server.port}", token="secret", retry=SOON, **settings) as client,
        pytest.raises(UnavailableError),
    ):
        client.info()
    assert server.calls == []


def test_insecure_sends_plain_text_to_other_machines_and_the_token_with_it(
    connect: Connect, server: ScriptedServer
) -> None:
    with connect(f"{ELSEWHERE}:{server.port}", token="secret", insecure=True) as client:
        client.info()
    assert server.metadata[-1]["authorization"] == "Bearer secret"


def test_closing(connect: Connect, server: ScriptedServer) -> None:
    client = connect(server.target)
    client.info()
    client.close()
    client.close()
    with pytest.raises(ClientClosedError):
        client.info()


def test_closing_ends_streams(connect: Connect, server: ScriptedServer) -> None:
    server.script.never_ends = True
    client = connect(server.target, retry=SOON)
    job = client.compress("conv-7", dataset="fashion-mnist")
    events = job.events()
    next(events)
    client.close()
    with pytest.raises(ClientClosedError):
        list(events)


def test_a_client_that_was_never_used_needs_no_close(connect: Connect) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connect("example.org:443")
        gc.collect()


def test_results_of_a_client_save_themselves(server: ScriptedServer, tmp_path: Path) -> None:
    with Client(server.target) as client:
        result = client.compress("conv-7", dataset="fashion-mnist").result()
        result.save(tmp_path / "small.onnx")
        assert (tmp_path / "small.onnx").read_bytes() == result.model_bytes() == MODEL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_opens_its_own_channel(server: ScriptedServer) -> None:
    code = """
import os, sys
from archpress_client import Client
with Client(sys.argv[1]) as client:
    client.info()
    child = os.fork()
    client.info()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-c", code, server.target]
    run = subprocess.run(command, timeout=30, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert len(server.asked("GetServerInfo")) == 3


def test_threads_share_a_client(client: Client) -> None:
    results = []

    def run() -> None:
        results.append(client.compress("conv-7", dataset="fashion-mnist").result().accuracy)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0.9312] * 6
