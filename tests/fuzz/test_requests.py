"""Requests that nobody should send: refused, without a fault of the server, however odd."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_proto.v1 import artifact_service_pb2 as artifact_pb
from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import info_service_pb2 as info_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.config import ServerConfig
from archpress_server.service.convert_network import architecture_to_proto
from archpress_server.service.interceptors import SERVICES
from archpress_trainer.space.named import named
from tests.fuzz.messages import NOISE, damaged, message_of, odd
from tests.fuzz.running import RunningServer
from tests.server.service.principals import Principals

# Methods x kinds of message x these: about 1,000 requests with the others, or more than 20,000.
MANY = settings.get_current_profile_name() == "fuzz"
EXAMPLES = settings(max_examples=600 if MANY else 25)
HANG_SECONDS = 60.0
# A watch of a job that has no news is silent until its first heartbeat, and rightly so.
SILENCE_SECONDS = 1.0
FAULTS = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.ABORTED,
}

ARCHITECTURE = architecture_to_proto(named("conv-7", (1, 28, 28), 10))
# Nothing fits, so that a plan is refused before any descent.
SPEC = pb.JobSpec(
    architecture=ARCHITECTURE,
    dataset="fashion-mnist",
    budget=pb.Budget(max_params=1),
    labels={"a": "b"},
)
VALID: dict[str, Message] = {
    "Compress": service_pb.CompressRequest(spec=SPEC),
    "CreateJob": service_pb.CreateJobRequest(
        spec=SPEC, request_id="6f5902ac-237f-4d2a-a1f5-0a0f3b8c7d11"
    ),
    "Plan": service_pb.PlanRequest(spec=SPEC, max_candidates=1),
    "ListJobs": service_pb.ListJobsRequest(page_size=10, states=[pb.JOB_STATE_QUEUED]),
    "GetServerInfo": info_pb.GetServerInfoRequest(),
    "UploadModel": artifact_pb.UploadModelRequest(data=b"onnx"),
}
Metadata = tuple[tuple[str, str], ...]
METHODS = {f"/{s.full_name}/{m.name}": m for s in SERVICES for m in s.methods}


@pytest.fixture(scope="module")
def principals(tmp_path_factory: pytest.TempPathFactory) -> Principals:
    return Principals(tmp_path_factory.mktemp("fuzz") / "tokens.json")


@pytest.fixture(scope="module")
def running(principals: Principals) -> Iterator[RunningServer]:
    config = ServerConfig(
        port=0,
        metrics_port=0,
        workers=0,
        state_dir=principals.path.parent / "state",
        auth="token",
        tokens_file=str(principals.path),
        requests_per_second=0,
        threads_per_worker=1,
        dataset_root=Path("/nonexistent"),
        download_datasets=False,
    )
    running = RunningServer(config)
    yield running
    running.stop()


class Caller:
    """Sends bytes to a method and looks at what comes back."""

    def __init__(self, running: RunningServer, channel: grpc.Channel, token: Metadata) -> None:
        self.running = running
        # Without serializers a channel's methods have no types.
        self.channel: Any = channel
        self.token = token
        self.sent = 0
        self.series = running.series()
        self.jobs = [self._job()]

    def send(
        self, method: str, content: bytes, metadata: Metadata | None = None
    ) -> grpc.StatusCode:
        """Return the status of a call; of a stream that goes on, that of its first message."""
        self.sent += 1
        found = METHODS[method]
        silent = found.name == "WatchJob"
        options: Any = {
            "timeout": SILENCE_SECONDS if silent else HANG_SECONDS,
            "metadata": self.token if metadata is None else metadata,
        }
        try:
            if found.client_streaming:
                self.channel.stream_unary(method)(iter([content, content]), **options)
            elif found.server_streaming:
                stream = self.channel.unary_stream(method)(content, **options)
                next(stream, None)
                stream.cancel()
            else:
                self.channel.unary_unary(method)(content, **options)
        except grpc.RpcError as error:
            call: Any = error
            code: grpc.StatusCode = call.code()
            if silent and code is grpc.StatusCode.DEADLINE_EXCEEDED:
                return grpc.StatusCode.OK
            assert code not in FAULTS, call.details()
            return code
        return grpc.StatusCode.OK

    def check(self) -> None:
        """Look whether the server is as it was."""
        assert self.send("/archpress.v1.InfoService/GetServerInfo", b"") is grpc.StatusCode.OK
        assert self.running.series() == self.series

    def _job(self) -> str:
        spec = pb.JobSpec(network="conv-7", dataset="fashion-mnist")
        request = service_pb.CreateJobRequest(spec=spec).SerializeToString()
        create = self.channel.unary_unary(
            "/archpress.v1.CompressionService/CreateJob", response_deserializer=pb.Job.FromString
        )
        name: str = create(request, metadata=self.token).name
        return name


@pytest.fixture(scope="module")
def caller(running: RunningServer, principals: Principals) -> Iterator[Caller]:
    with grpc.insecure_channel(f"127.0.0.1:{running.server.port}") as channel:
        yield Caller(running, channel, principals.metadata("alice"))


def valid(method: str, caller: Caller) -> Message:
    """Return a request that the method takes."""
    found = METHODS[method]
    if found.name in VALID:
        return VALID[found.name]
    message: Any = message_of(found.input_type)
    message.name = caller.jobs[0] if "Job" in found.name else "artifacts/" + caller.jobs[0][5:]
    return message  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["noise", "damaged", "odd"])
@pytest.mark.parametrize("method", METHODS)
def test_any_request_is_answered_by_a_status(caller: Caller, method: str, kind: str) -> None:
    message = valid(method, caller)
    contents = {
        "noise": NOISE,
        "damaged": damaged(message.SerializeToString()),
        "odd": odd(message),
    }[kind]

    @EXAMPLES
    @given(contents)
    def send(content: bytes) -> None:
        caller.send(method, content)

    send()
    caller.check()


@pytest.mark.parametrize("method", ["/archpress.v1.CompressionService/ListJobs"])
def test_any_authorization_is_answered_by_a_status(caller: Caller, method: str) -> None:
    # What HTTP/2 lets pass: gRPC's client refuses the rest.
    printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=100)

    @EXAMPLES
    @given(st.lists(printable, min_size=1, max_size=2))
    def send(values: list[str]) -> None:
        for scheme in ("", "Bearer ", "Bearer ap_"):
            metadata = tuple(("authorization", scheme + value) for value in values)
            assert caller.send(method, b"", metadata) is grpc.StatusCode.UNAUTHENTICATED

    send()
    caller.check()


def test_methods_that_do_not_exist_are_not_implemented(caller: Caller) -> None:
    part = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)

    @EXAMPLES
    @given(part, part, NOISE)
    def send(service: str, method: str, content: bytes) -> None:
        path = f"/{service}/{method}"
        with pytest.raises(grpc.RpcError) as caught:
            caller.channel.unary_unary(path)(content, timeout=HANG_SECONDS)
        call: Any = caught.value
        assert call.code() is grpc.StatusCode.UNIMPLEMENTED

    send()
    caller.check()


def test_bytes_that_are_no_http_do_no_harm(caller: Caller) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    @settings(max_examples=200 if MANY else 20)
    @given(st.booleans(), st.binary(min_size=1, max_size=500))
    def send(greets: bool, content: bytes) -> None:
        address = ("127.0.0.1", caller.running.server.port)
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall((preface if greets else b"") + content)

    send()
    caller.check()


@pytest.mark.skipif(not MANY, reason="only `make fuzz` sends that many")
def test_so_many_requests_were_sent(caller: Caller) -> None:
    assert caller.sent >= 20_000
