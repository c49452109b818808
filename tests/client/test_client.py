"""Both clients against a real gRPC server on a loopback socket, with scripted faults."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2

from archpress_client import (
    Client,
    CompletedEvent,
    ConflictError,
    DownloadError,
    Event,
    HeartbeatEvent,
    InvalidRequestError,
    JobCancelledError,
    JobFailedError,
    JobState,
    Layer,
    LayerKind,
    Network,
    NotFoundError,
    PermissionDeniedError,
    RequestTimeoutError,
    Retry,
    ServerError,
    Timeouts,
    UnavailableError,
)
from tests.client.driven import Connect
from tests.client.scripted import Cut, ScriptedServer, rate_limited
from tests.client.told_jobs import MODEL, error_status

SOON = Retry(initial_seconds=0.01, max_seconds=0.05)


def test_compress_to_a_file(client: Client, server: ScriptedServer, tmp_path: Path) -> None:
    seen: list[Event] = []
    job = client.compress("conv-7", dataset="fashion-mnist", max_params=50_000)
    result = job.result(on_event=seen.append)
    assert [event.seq for event in seen] == list(range(1, 11))
    assert isinstance(seen[-1], CompletedEvent)
    client.download(result, tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").read_bytes() == client.read(result) == MODEL
    (request,) = server.asked("CreateJob")
    assert request.spec.budget.max_params == 50_000
    assert uuid.UUID(request.request_id).version == 4


def test_a_network_of_layers(client: Client, server: ScriptedServer) -> None:
    layers = [Layer.conv(8, 3), Layer.relu(), Layer.global_average_pool(), Layer.linear(10)]
    client.compress(Network((1, 28, 28), 10, layers), dataset="fashion-mnist", effort="FULL")
    spec = server.asked("CreateJob")[0].spec
    assert [layer.kind for layer in spec.architecture.layers] == [1, 4, 9, 8]
    assert spec.effort == 3


CUTS = [
    [Cut(0)],
    [Cut(3), Cut(1), Cut(0), Cut(5)],
    [Cut(2, None), Cut(0, None)],
    [Cut(4, grpc.StatusCode.INTERNAL), Cut(1, grpc.StatusCode.CANCELLED)],
    [Cut(9), Cut(0, grpc.StatusCode.UNKNOWN)],
]


@pytest.mark.parametrize("cuts", CUTS)
def test_cut_streams_give_every_event_once(
    client: Client, server: ScriptedServer, cuts: list[Cut]
) -> None:
    server.script.cuts = list(cuts)
    events = list(client.compress("conv-7", dataset="fashion-mnist").events())
    assert [event.seq for event in events] == list(range(1, 11))
    assert not server.script.cuts
    offsets = [request.after_seq for request in server.asked("WatchJob")]
    assert offsets == [sum(cut.after for cut in cuts[:i]) for i in range(len(cuts) + 1)]


def test_a_watch_waits_where_it_is_resumed_too_often(
    client: Client, server: ScriptedServer
) -> None:
    server.script.cuts = [Cut(2), Cut(0, grpc.StatusCode.RESOURCE_EXHAUSTED, rate_limited(0.3))]
    job = client.compress("conv-7", dataset="fashion-mnist")
    begin = time.monotonic()
    assert [event.seq for event in job.events()] == list(range(1, 11))
    assert time.monotonic() - begin >= 0.3
    assert [request.after_seq for request in server.asked("WatchJob")] == [0, 2, 2]


def test_a_stream_that_somebody_on_the_way_ends_is_resumed(
    client: Client, server: ScriptedServer
) -> None:
    server.script.cuts = [Cut(2, grpc.StatusCode.DEADLINE_EXCEEDED)] * 2
    job = client.compress("conv-7", dataset="fashion-mnist")
    assert [event.seq for event in job.events()] == list(range(1, 11))
    server.script.cuts = [Cut(2, grpc.StatusCode.DEADLINE_EXCEEDED)]
    assert [event.seq for event in job.events(timeout_seconds=60)] == list(range(1, 11))


def test_a_server_that_restarts(client: Client, server: ScriptedServer) -> None:
    server.script.never_ends = True
    job = client.compress("conv-7", dataset="fashion-mnist")
    seen: list[Event] = []

    def restart() -> None:
        server.stop()
        server.script.never_ends = False
        server.start()

    for event in job.events():
        if isinstance(event, HeartbeatEvent) and server.script.never_ends:
            restart()
        elif not isinstance(event, HeartbeatEvent):
            seen.append(event)
    assert [event.seq for event in seen] == list(range(1, 11))


def test_a_silent_server_is_left(
    connect: Connect, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Timeouts, "watch_silence_seconds", 0.2)
    server.script.hang = True
    with connect(server.target, retry=Retry(initial_seconds=0.01, stream_attempts=2)) as client:
        job = client.compress("conv-7", dataset="fashion-mnist")
        with pytest.raises(UnavailableError, match="nothing came"):
            job.result()
    assert len(server.asked("WatchJob")) == 2


def test_a_lost_job_is_created_again(client: Client, server: ScriptedServer) -> None:
    server.script.forget_next_job = True
    job = client.compress("conv-7", dataset="fashion-mnist")
    lost = job.name
    assert job.result().budget_met
    assert job.name != lost
    first, second = server.asked("CreateJob")
    assert first == second


NOT_OWNER = Cut(
    0,
    grpc.StatusCode.PERMISSION_DENIED,
    error_status(grpc.StatusCode.PERMISSION_DENIED, "no job of yours", "NOT_OWNER"),
)


def test_what_a_server_with_tokens_says_of_a_lost_job_is_known(
    client: Client, server: ScriptedServer
) -> None:
    server.script.cuts = [NOT_OWNER]
    assert client.compress("conv-7", dataset="fashion-mnist").result().budget_met
    assert len(server.asked("CreateJob")) == 2


def test_a_job_is_created_again_only_once(client: Client, server: ScriptedServer) -> None:
    server.script.cuts = [NOT_OWNER, NOT_OWNER]
    with pytest.raises(PermissionDeniedError, match="no job of yours"):
        client.compress("conv-7", dataset="fashion-mnist").result()
    assert len(server.asked("CreateJob")) == 2


def test_who_may_not_watch_creates_nothing_again(client: Client, server: ScriptedServer) -> None:
    code = grpc.StatusCode.PERMISSION_DENIED
    server.script.cuts = [Cut(0, code, error_status(code, "no", "SCOPE_MISSING"))]
    with pytest.raises(PermissionDeniedError, match="no"):
        client.compress("conv-7", dataset="fashion-mnist").result()
    assert len(server.asked("CreateJob")) == 1


def test_a_job_whose_events_were_seen_is_not_created_again(
    client: Client, server: ScriptedServer
) -> None:
    code = grpc.StatusCode.NOT_FOUND
    server.script.cuts = [Cut(1, code, error_status(code, "deleted", "JOB_NOT_FOUND"))]
    with pytest.raises(NotFoundError, match="deleted"):
        client.compress("conv-7", dataset="fashion-mnist").result()
    assert len(server.asked("CreateJob")) == 1


@pytest.mark.parametrize("look", ["status", "cancel", "report", "delete"])
def test_a_job_that_was_seen_is_not_created_again(
    client: Client, server: ScriptedServer, look: str
) -> None:
    job = client.compress("conv-7", dataset="fashion-mnist")
    getattr(job, look)()
    server.jobs.clear()
    with pytest.raises(NotFoundError):
        job.result()
    assert len(server.asked("CreateJob")) == 1


def test_a_job_of_that_name_does_not_exist(client: Client) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.job("nowhere").result()
    assert caught.value.reason == "JOB_NOT_FOUND"


def test_waiting_has_a_limit(client: Client, server: ScriptedServer) -> None:
    server.script.never_ends = True
    job = client.compress("conv-7", dataset="fashion-mnist")
    with pytest.raises(RequestTimeoutError, match="it goes on"):
        job.result(timeout_seconds=0.3)
    server.stop()
    with pytest.raises((RequestTimeoutError, UnavailableError)):
        job.result(timeout_seconds=0.3)


def test_failure_holds_the_best_network(client: Client, server: ScriptedServer) -> None:
    server.script.final = "failed"
    with pytest.raises(JobFailedError) as caught:
        client.compress("conv-7", dataset="fashion-mnist").result()
    assert caught.value.reason == "BUDGET_UNREACHABLE"
    best = caught.value.result
    assert best is not None
    assert not best.budget_met
    assert client.read(best) == MODEL


def test_cancel(client: Client, server: ScriptedServer) -> None:
    job = client.compress("conv-7", dataset="fashion-mnist")
    assert client.cancel(job.name).state is JobState.CANCELLING
    with pytest.raises(JobCancelledError):
        job.result()
    assert job.status().state is JobState.CANCELLED
    job.delete()
    with pytest.raises(NotFoundError):
        job.status()


def test_a_job_whose_deletion_was_not_told_is_deleted(
    client: Client, server: ScriptedServer
) -> None:
    job = client.compress("conv-7", dataset="fashion-mnist")
    server.script.lose_next_deletion = True
    job.delete()
    assert server.jobs == {}
    assert len(server.asked("DeleteJob")) == 2
    with pytest.raises(NotFoundError):
        job.delete()


def test_of_callers_with_tokens_a_deleted_job_is_told_as_anothers(
    client: Client, server: ScriptedServer
) -> None:
    code = grpc.StatusCode.PERMISSION_DENIED
    lost = (grpc.StatusCode.UNAVAILABLE, status_pb2.Status(message="connection reset"))
    nobodys = (code, error_status(code, "no jobs/1 of yours", "NOT_OWNER"))
    server.script.refusals = [lost, nobodys]
    client.delete("jobs/1")
    server.script.refusals = [nobodys]
    with pytest.raises(PermissionDeniedError):
        client.delete("jobs/1")
    server.script.refusals = [lost, (code, error_status(code, "no", "SCOPE_MISSING"))]
    with pytest.raises(PermissionDeniedError):
        client.delete("jobs/1")


def test_a_job_is_found_again(client: Client) -> None:
    name = client.compress("conv-7", dataset="fashion-mnist").name
    assert [event.seq for event in client.job(name).events(after_seq=8)] == [9, 10]
    assert [event.seq for event in client.job(name).events(after_seq=10)] == [10]


@pytest.mark.parametrize("after_seq", [-1, 2**64, "3"])
def test_numbers_that_no_event_has_are_refused(
    client: Client, server: ScriptedServer, after_seq: Any
) -> None:
    with pytest.raises(InvalidRequestError, match="after_seq: is"):
        list(client.job("jobs/1").events(after_seq=after_seq))
    assert server.asked("WatchJob") == []


def test_a_report_is_a_page(client: Client) -> None:
    assert client.compress("conv-7", dataset="fashion-mnist").report() == "<h1>jobs/1</h1>"
    with pytest.raises(NotFoundError):
        client.job("nowhere").report()


def test_leaving_the_loop_ends_the_stream(client: Client, server: ScriptedServer) -> None:
    server.script.never_ends = True
    for event in client.compress("conv-7", dataset="fashion-mnist").events():
        if event.seq == 2:
            break
    deadline = time.monotonic() + 5
    while any(thread.name == "archpress-reader" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_jobs_come_in_pages(client: Client, server: ScriptedServer) -> None:
    for _ in range(5):
        client.compress("conv-7", dataset="fashion-mnist")
    assert [job.name for job in client.jobs(page_size=2)] == [f"jobs/{i}" for i in (5, 4, 3, 2, 1)]
    assert len(server.asked("ListJobs")) == 3
    assert list(client.jobs(["succeeded"])) == []


def test_plan_and_info(client: Client) -> None:
    plan = client.plan("conv-7", dataset="fashion-mnist", max_params=50_000, max_candidates=3)
    assert [candidate.rank for candidate in plan.candidates] == [1, 2, 3]
    assert plan.duration_seconds == 1.5
    info = client.info()
    assert info.datasets[0].input_shape == (1, 28, 28)
    assert info.limits.max_run_time_seconds == 3600.0
    assert info.layer_kinds == (LayerKind.CONVOLUTION,)


def test_refusals_keep_their_details(client: Client, server: ScriptedServer) -> None:
    code = grpc.StatusCode.INVALID_ARGUMENT
    violations = [("spec.dataset", "no data set mnist")]
    status = error_status(code, "no", "UNKNOWN_DATASET", {"known": "cifar10"}, violations)
    server.script.refusals = [(code, status)]
    with pytest.raises(InvalidRequestError) as caught:
        client.compress("conv-7", dataset="mnist")
    assert caught.value.violations[0].field == "spec.dataset"
    assert caught.value.metadata["known"] == "cifar10"
    assert len(server.asked("CreateJob")) == 1


def test_a_draining_server_is_asked_again_with_the_same_id(
    client: Client, server: ScriptedServer
) -> None:
    code = grpc.StatusCode.UNAVAILABLE
    status = error_status(code, "draining", "DRAINING", retry_after=Duration(nanos=200_000_000))
    server.script.refusals = [(code, status)] * 2
    begin = time.monotonic()
    client.compress("conv-7", dataset="fashion-mnist")
    assert time.monotonic() - begin >= 0.4
    assert len({request.request_id for request in server.asked("CreateJob")}) == 1


def test_who_calls_too_often_waits_and_goes_on(client: Client, server: ScriptedServer) -> None:
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    wait = Duration(nanos=200_000_000)
    server.script.refusals = [(code, error_status(code, "often", "RATE_LIMITED", {}, (), wait))]
    begin = time.monotonic()
    assert list(client.jobs()) == []
    assert time.monotonic() - begin >= 0.2
    assert len(server.asked("ListJobs")) == 2


def test_faults_of_the_server_are_not_repeated(client: Client, server: ScriptedServer) -> None:
    code = grpc.StatusCode.INTERNAL
    status = error_status(code, "a bug, 1234", "INTERNAL", {"error_id": "1234"})
    server.script.refusals = [(code, status)]
    with pytest.raises(ServerError, match="1234"):
        client.info()
    assert len(server.asked("GetServerInfo")) == 1


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN])
def test_faults_on_the_way_are_repeated(
    client: Client, server: ScriptedServer, code: grpc.StatusCode
) -> None:
    server.script.refusals = [(code, status_pb2.Status(message="Internal error from Core"))] * 2
    client.info()
    assert len(server.asked("GetServerInfo")) == 3


def test_request_ids_make_requests_repeatable(client: Client) -> None:
    request_id = str(uuid.uuid4())
    first = client.compress("conv-7", dataset="fashion-mnist", request_id=request_id)
    again = client.compress("conv-7", dataset="fashion-mnist", request_id=request_id)
    assert first.name == again.name
    with pytest.raises(ConflictError):
        client.compress("conv-10", dataset="fashion-mnist", request_id=request_id)


@pytest.mark.parametrize(
    "cuts", [[Cut(0)], [Cut(1)], [Cut(3), Cut(2, None), Cut(4, grpc.StatusCode.INTERNAL)]]
)
def test_cut_downloads_are_resumed(
    client: Client, server: ScriptedServer, tmp_path: Path, cuts: list[Cut]
) -> None:
    result = client.compress("conv-7", dataset="fashion-mnist").result()
    server.script.download_cuts = list(cuts)
    client.download(result, tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").read_bytes() == MODEL
    assert len(server.asked("DownloadArtifact")) == len(cuts) + 1


def test_a_download_waits_where_it_is_resumed_too_often(
    client: Client, server: ScriptedServer
) -> None:
    result = client.compress("conv-7", dataset="fashion-mnist").result()
    limited = Cut(0, grpc.StatusCode.RESOURCE_EXHAUSTED, rate_limited(0.3))
    server.script.download_cuts = [Cut(2), limited]
    begin = time.monotonic()
    assert client.read(result) == MODEL
    assert time.monotonic() - begin >= 0.3


def test_wrong_bytes_leave_no_file(client: Client, server: ScriptedServer, tmp_path: Path) -> None:
    result = client.compress("conv-7", dataset="fashion-mnist").result()
    server.script.corrupt = True
    with pytest.raises(DownloadError):
        client.download(result, tmp_path / "small.onnx")
    assert list(tmp_path.iterdir()) == []
