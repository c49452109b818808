"""Traces from a caller to the phases of a worker, through real processes and a real collector."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from structlog.testing import capture_logs

from archpress_client import Client, Layer, Network
from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server import traces
from archpress_server.catalog import load_catalog
from archpress_server.compress.types import Phase
from archpress_server.config import ServerConfig
from archpress_server.server import Server
from archpress_server.state import prepare_state
from archpress_server.traces import TracesError, open_traces
from tests.server.collector import Collector, running_collector

if TYPE_CHECKING:
    from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceAsyncStub

CREATE = "archpress.v1.CompressionService/CreateJob"
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture
def config(config: ServerConfig, collector: Collector) -> ServerConfig:
    return config.model_copy(update={"traces_url": collector.url})


def spec(mode: str = "succeed") -> pb.JobSpec:
    return pb.JobSpec(network="conv-7", dataset="fashion-mnist", labels={"mode": mode})


async def flushed(server: Server) -> None:
    await asyncio.to_thread(server._traces.flush, 5.0)


async def ended(stub: CompressionServiceAsyncStub, job: str) -> pb.Job:
    async for event in stub.WatchJob(service_pb.WatchJobRequest(name=job)):
        if event.HasField("completed"):
            return event.completed
    raise AssertionError("the stream ended early")


async def test_a_call_is_a_span_below_its_callers(
    stub: CompressionServiceAsyncStub, server: Server, collector: Collector
) -> None:
    request = service_pb.CreateJobRequest(spec=spec("wait"))
    await stub.CreateJob(request, metadata=(("traceparent", CALLER), ("x-request-id", "r1")))
    await flushed(server)
    (span,) = collector.named(CREATE)
    assert (span.trace, span.parent, span.process) == (
        TRACE,
        CALLER.split("-")[2],
        "archpress-server",
    )
    assert span.attributes["archpress.request"] == "r1"
    assert not span.failed


@pytest.mark.parametrize("sent", ["", "00-0-0-00", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16])
async def test_a_malformed_parent_is_none(
    stub: CompressionServiceAsyncStub, server: Server, collector: Collector, sent: str
) -> None:
    job = await stub.CreateJob(service_pb.CreateJobRequest(spec=spec("wait")))
    await stub.GetJob(service_pb.GetJobRequest(name=job.name), metadata=(("traceparent", sent),))
    await flushed(server)
    (span,) = collector.named("archpress.v1.CompressionService/GetJob")
    assert span.parent == ""
    assert len(span.trace) == 32


async def test_a_refused_call_failed_for_its_reason(
    stub: CompressionServiceAsyncStub, server: Server, collector: Collector
) -> None:
    with pytest.raises(grpc.aio.AioRpcError), capture_logs():
        await stub.CreateJob(service_pb.CreateJobRequest(spec=pb.JobSpec(network="conv-7")))
    await flushed(server)
    (span,) = collector.named(CREATE)
    assert span.failed
    assert span.attributes["archpress.reason"] == "INVALID_FIELD"


async def test_a_lost_attempt_and_the_next_are_of_one_trace(
    stub: CompressionServiceAsyncStub, server: Server, collector: Collector
) -> None:
    request = service_pb.CreateJobRequest(spec=spec("die-once"))
    job = await stub.CreateJob(request, metadata=(("traceparent", CALLER),))
    final = await ended(stub, job.name)
    assert (final.state, final.attempt) == (pb.JOB_STATE_SUCCEEDED, 2)
    await flushed(server)
    (created,) = collector.named(CREATE)
    (lost,) = collector.named("attempt")
    assert (lost.trace, lost.parent) == (TRACE, created.id)
    assert lost.failed
    assert lost.attributes["archpress.attempt"] == 1
    assert lost.attributes["archpress.job"] == job.name.removeprefix("jobs/")


async def test_log_lines_carry_the_trace(stub: CompressionServiceAsyncStub, server: Server) -> None:
    seen: list[dict[str, object]] = []

    def keep(_: Any, __: str, event: Any) -> Any:
        seen.append(dict(event))
        return event

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep, *before])
    try:
        request = service_pb.CreateJobRequest(spec=spec("wait"))
        await stub.CreateJob(request, metadata=(("traceparent", CALLER),))
    finally:
        structlog.configure(processors=before)
    (line,) = (event for event in seen if event["event"] == "call")
    assert line["trace"] == TRACE


def test_the_package_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str, process: str) -> None:
        raise ModuleNotFoundError("no", name="opentelemetry.sdk")

    monkeypatch.setattr(traces, "_OtlpTraces", missing)
    with pytest.raises(TracesError, match=r"traces_url needs the module opentelemetry\.sdk"):
        open_traces("http://localhost:4317", "x")


def test_without_traces_nothing_of_it_is_imported() -> None:
    code = (
        "import sys, archpress_server.server, archpress_server.worker.phases\n"
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_dead_collector_costs_little() -> None:
    dead = open_traces("http://127.0.0.1:1", "x")
    started = time.monotonic()
    for _ in range(100):
        with dead.span("x", "", {}):
            pass
    dead.flush(0.5)
    assert time.monotonic() - started < 10.0


@pytest.mark.slow
async def test_one_trace_from_the_client_to_the_phases(
    config: ServerConfig, collector: Collector, tiny_embedding: Path, tiny_dataset: Path
) -> None:
    update = {"embeddings_dir": (tiny_embedding,), "dataset_files": {"tiny": tiny_dataset}}
    config = config.model_copy(update=update)
    prepare_state(config)
    server = Server(config, load_catalog(config), warm=False)
    await server.start()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("caller")
    layers = [Layer.conv(48, 3), Layer.relu(), Layer.global_average_pool(), Layer.linear(4)]
    network = Network(input_shape=(1, 12, 12), classes=4, layers=layers)

    def compress() -> str:
        with Client(f"127.0.0.1:{server.port}") as client:
            with tracer.start_as_current_span("mine") as span:
                job = client.compress(network, dataset="tiny", max_params=400)
            job.result(timeout_seconds=240)
        return f"{span.get_span_context().trace_id:032x}"

    try:
        mine = await asyncio.to_thread(compress)
        async with asyncio.timeout(20):
            while not collector.named("attempt"):
                await asyncio.sleep(0.1)
    finally:
        await server.stop()
    (attempt,) = collector.named("attempt")
    assert attempt.process == "archpress-worker"
    below = [span for span in collector.spans if span.parent == attempt.id]
    assert [span.name for span in below] == [phase.value for phase in Phase]
    assert {span.trace for span in (attempt, *below)} == {mine}


def test_a_collector_that_says_nothing_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        opened = open_traces(f"http://127.0.0.1:{silent.getsockname()[1]}", "test")
        with opened.span("a", "", {}):
            pass
        began = time.monotonic()
        opened.flush(0.5)
        assert time.monotonic() - began < 5.0
