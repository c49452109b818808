"""The example services, each a process of its own, in front of a real server."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from archpress_client import Client
from tests.client.scripted import Cut, ScriptedServer
from tests.client.told_jobs import MODEL, error_status
from tests.e2e.networks import NETWORK
from tests.trainer.population.helpers import wait_until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@contextmanager
def running(
    command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Start a service and give its address, which it prints first."""
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(variables or {})},
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on "), line + process.stdout.read()
            yield line.removeprefix("listening on ").strip()
        finally:
            process.terminate()


def fetch(url: str, body: object = None) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=240) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture(scope="module")
def network(target: str) -> str:
    """An uploaded network, since the tiny data set fits none of the named ones."""
    import torch

    from archpress_client._convert_network import network_to_proto
    from archpress_server.compress.export import to_onnx
    from archpress_server.service.convert_network import architecture_from_proto
    from archpress_trainer.data.dataset import Normalisation
    from archpress_trainer.space.build import build

    architecture = architecture_from_proto(network_to_proto(NETWORK))
    module = build(architecture, torch.Generator().manual_seed(0)).eval()
    with Client(target) as client:
        return client.upload(to_onnx(module, Normalisation((0.5,), (0.5,)))).artifact


@pytest.mark.slow
def test_the_python_service(target: str, network: str) -> None:
    command = [sys.executable, "web_service.py", "--server", target, "--port", "0"]
    with running(command, EXAMPLES / "python-service") as address:
        arguments = {"network": network, "dataset": "tiny", "max_params": 1_500}
        status, body = fetch(f"{address}/jobs", arguments)
        assert status == 202
        job = json.loads(body)["job"]
        deadline = time.monotonic() + 240
        while (shown := json.loads(fetch(f"{address}/{job}")[1]))["state"] in ("queued", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert shown["state"] == "succeeded"
        assert shown["params"] <= 1_500
        status, model = fetch(f"{address}/{job}/model")
        with Client(target) as client:
            result = client.job(job).status().result
        assert result is not None
        assert hashlib.sha256(model).hexdigest() == result.sha256
        wrong = fetch(f"{address}/jobs", {**arguments, "max_params": 0})
        assert (wrong[0], json.loads(wrong[1])["reason"]) == (400, "INVALID_FIELD")
        assert fetch(f"{address}/jobs", {"network": "conv-7"})[0] == 400
        assert fetch(f"{address}/jobs/none")[0] == 404
        assert fetch(f"{address}/other")[0] == 404


def answer_of(address: str, request: bytes) -> bytes:
    """Send bytes as they are, and return the answer's first line."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            return answer.readline()


@pytest.mark.parametrize(
    ("header", "body", "status"),
    [
        (b"Content-Length: -1\r\n", b"{}", 411),
        (b"", b"", 411),
        (b"Content-Length: many\r\n", b"{}", 400),
        (b"Content-Length: 1000001\r\n", b"", 413),
        (b"Content-Length: 200000\r\n", b"[" * 200_000, 400),
    ],
)
def test_the_python_service_refuses_bodies_that_it_cannot_read(
    python_service: str, header: bytes, body: bytes, status: int
) -> None:
    request = b"POST /jobs HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n" + body
    assert answer_of(python_service, request).split()[1] == str(status).encode()


@pytest.fixture(scope="module")
def python_service() -> Iterator[str]:
    """The Python example in front of no server."""
    command = [sys.executable, "web_service.py", "--server", "127.0.0.1:1", "--port", "0"]
    with running(command, EXAMPLES / "python-service") as address:
        yield address


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node example with its packages, outside the tree."""
    if shutil.which("npm") is None:
        pytest.skip("no Node is installed")
    folder = tmp_path_factory.mktemp("node") / "node-service"
    shutil.copytree(
        EXAMPLES / "node-service", folder, ignore=shutil.ignore_patterns("node_modules")
    )
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm has no packages: {done.stderr[-200:]}")
    return folder


@pytest.mark.slow
def test_the_node_service(target: str, network: str, node_folder: Path) -> None:
    command = ["node", "service.mjs", "--server", target, "--port", "0"]
    command += ["--protos", str(ROOT / "proto")]
    with running(command, node_folder) as address:
        status, body = fetch(f"{address}/compress?network=nothing&dataset=tiny&max_params=1500")
        assert status == 400
        assert "nothing" in json.loads(body)["error"]
        status, body = fetch(f"{address}/compress?network={network}&dataset=tiny&max_params=1500")
        assert status == 200
        events: list[dict[str, Any]] = [
            json.loads(line.removeprefix(b"data: ")) for line in body.splitlines() if line
        ]
        numbers = [event["seq"] for event in events if event.get("seq")]
        assert numbers == sorted(numbers)
        assert events[-1]["completed"] == "JOB_STATE_SUCCEEDED"
        assert events[-1]["params"] <= 1_500
        job = events[-1]["job"].removeprefix("jobs/")
        status, model = fetch(f"{address}/models/{job}")
        assert hashlib.sha256(model).hexdigest() == events[-1]["sha256"]
        assert fetch(f"{address}/models/none")[0] == 404


@pytest.mark.slow
def test_the_node_service_leaves_a_job_whose_caller_left(node_folder: Path) -> None:
    server = ScriptedServer()
    server.script.never_ends = True
    server.start()
    command = ["node", "service.mjs", "--server", server.target, "--port", "0"]
    command += ["--protos", str(ROOT / "proto")]
    try:
        with running(command, node_folder) as address:
            url = f"{address}/compress?network=conv-7&dataset=fashion-mnist"
            with urllib.request.urlopen(url) as response:
                assert response.read(5) == b"data:"
                assert server.left == []
            assert wait_until(lambda: server.left == ["jobs/1"], 10)
            time.sleep(1)
    finally:
        server.stop()
    assert len(server.asked("WatchJob")) == 1
    assert not server.asked("CreateJob")[0].spec.budget.HasField("max_params")


@pytest.mark.slow
def test_the_node_service_goes_on_behind_the_last_number(node_folder: Path) -> None:
    server = ScriptedServer()
    server.script.heartbeats = True
    server.script.cuts = [Cut(4), Cut(2, grpc.StatusCode.UNKNOWN)]
    server.script.download_cuts = [Cut(1)]
    refused, limited = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED
    second = Duration(seconds=1)
    server.script.refusals = [
        (refused, error_status(refused, "going away", "DRAINING")),
        (limited, error_status(limited, "too often", "RATE_LIMITED", retry_after=second)),
    ]
    server.start()
    began = time.monotonic()
    command = ["node", "service.mjs", "--server", server.target, "--port", "0"]
    command += ["--protos", str(ROOT / "proto")]
    try:
        with running(command, node_folder, {"ARCHPRESS_TOKEN": "ap_one"}) as address:
            url = f"{address}/compress?network=conv-7&dataset=fashion-mnist&max_params=50000"
            lines = fetch(url)[1].splitlines()
            model = fetch(f"{address}/models/1")[1]
    finally:
        server.stop()
    events = [json.loads(line.removeprefix(b"data: ")) for line in lines if line]
    numbers = [event["seq"] for event in events if event.get("seq")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert events[-1]["completed"] == "JOB_STATE_SUCCEEDED"
    assert model == MODEL
    # Two cuts: behind two events and their heartbeats, then behind one more.
    assert [request.after_seq for request in server.asked("WatchJob")] == [0, 2, 3]
    assert time.monotonic() - began > 1.0
    assert len(server.asked("CreateJob")) == 3
    assert len({request.request_id for request in server.asked("CreateJob")}) == 1
    assert {entry["authorization"] for entry in server.metadata} == {"Bearer ap_one"}


@pytest.mark.slow
def test_the_node_service_survives_what_is_no_path(node_folder: Path) -> None:
    command = ["node", "service.mjs", "--server", "127.0.0.1:1", "--port", "0"]
    command += ["--protos", str(ROOT / "proto")]
    with running(command, node_folder) as address:
        for _ in range(2):
            line = answer_of(address, b"GET // HTTP/1.1\r\nHost: x\r\n\r\n")
            assert line.split()[1] == b"400"


@pytest.mark.slow
def test_the_node_service_waits_where_streams_end_too_early(node_folder: Path) -> None:
    server = ScriptedServer()
    server.script.cuts = [Cut(3, None), Cut(0, None), Cut(0, None)]
    server.start()
    command = ["node", "service.mjs", "--server", server.target, "--port", "0"]
    command += ["--protos", str(ROOT / "proto")]
    try:
        with running(command, node_folder) as address:
            begin = time.monotonic()
            url = f"{address}/compress?network=conv-7&dataset=fashion-mnist&max_params=50000"
            lines = fetch(url)[1].splitlines()
    finally:
        server.stop()
    assert time.monotonic() - begin >= 0.2 + 0.4 + 0.6
    events = [json.loads(line.removeprefix(b"data: ")) for line in lines if line]
    assert [event["seq"] for event in events] == list(range(1, 11))
    assert [request.after_seq for request in server.asked("WatchJob")] == [0, 3, 3, 3]
