"""Requests that are refused: code, reason, field paths, and nothing stored."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from archpress_proto.v1 import architecture_pb2 as arch_pb
from archpress_proto.v1 import artifact_service_pb2 as artifact_pb
from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_proto.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from archpress_server.config import ServerConfig
from archpress_server.server import Server
from archpress_server.service.convert_network import architecture_to_proto
from archpress_server.service.times import duration
from archpress_trainer.space.architecture_space import PRACTICAL_KINDS
from archpress_trainer.space.named import named
from archpress_trainer.space.vocab import LayerKind as VocabularyKind

if TYPE_CHECKING:
    from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceAsyncStub

pytestmark = pytest.mark.usefixtures("each_refusal_moves_one_series")

MAX = 2**31 - 1


@pytest.fixture
def config(config: ServerConfig) -> ServerConfig:
    """No workers: what is stored stays."""
    return config.model_copy(update={"workers": 0})


def valid() -> pb.JobSpec:
    architecture = architecture_to_proto(named("conv-7", (1, 28, 28), 10))
    return pb.JobSpec(architecture=architecture, dataset="fashion-mnist")


def status_of(error: grpc.aio.AioRpcError) -> tuple[status_pb2.Status, dict[str, Any]]:
    metadata: Any = error.trailing_metadata()
    status = status_pb2.Status.FromString(dict(metadata)["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    details: dict[str, Any] = {}
    for packed in status.details:
        name = packed.TypeName().rpartition(".")[2]
        details[name] = getattr(error_details_pb2, name)()
        assert packed.Unpack(details[name])
    return status, details


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, list[str], dict[str, str]]:
    """Return code, reason, field paths and metadata of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    _, details = status_of(caught.value)
    info = details["ErrorInfo"]
    assert info.domain == "archpress"
    assert f"ERROR_REASON_{info.reason}" in pb.ErrorReason.DESCRIPTOR.values_by_name
    fields = (
        [v.field for v in details["BadRequest"].field_violations]
        if ("BadRequest" in details)
        else []
    )
    return caught.value.code(), info.reason, fields, dict(info.metadata)


def layer(index: int, **values: Any) -> Callable[[pb.JobSpec], None]:
    def change(spec: pb.JobSpec) -> None:
        for name, value in values.items():
            setattr(spec.architecture.layers[index], name, value)

    return change


def spec(**values: Any) -> Callable[[pb.JobSpec], None]:
    def change(message: pb.JobSpec) -> None:
        message.MergeFrom(pb.JobSpec(**values))

    return change


def shape(**values: int) -> Callable[[pb.JobSpec], None]:
    return lambda message: message.architecture.input_shape.MergeFrom(arch_pb.InputShape(**values))


def deep(message: pb.JobSpec) -> None:
    layers = [arch_pb.Layer(kind=arch_pb.LAYER_KIND_RELU)] * 10_000
    message.architecture.layers.extend(layers)


def no_model(message: pb.JobSpec) -> None:
    message.ClearField("architecture")


def no_dataset(message: pb.JobSpec) -> None:
    message.ClearField("dataset")


def no_layers(message: pb.JobSpec) -> None:
    message.architecture.ClearField("layers")


def table(
    *rows: pb.LayerLatency, seconds: float = 1.0, fixed: float = 0.0
) -> Callable[[pb.JobSpec], None]:
    """Ask for a latency by a table with a row for each kind of the space, then more rows."""

    def change(message: pb.JobSpec) -> None:
        kinds = [kind for kind in PRACTICAL_KINDS if kind is not VocabularyKind.DROPOUT]
        entries = [pb.LayerLatency(kind=arch_pb.LayerKind.ValueType(int(k))) for k in kinds]
        for entry in entries:
            entry.fixed_seconds = 1e-6
        latencies = pb.LatencyTable(layers=[*entries, *rows], fixed_seconds=fixed)
        message.latency_table.CopyFrom(latencies)
        if seconds:
            message.budget.max_latency.CopyFrom(duration(seconds))

    return change


def many_inputs(message: pb.JobSpec) -> None:
    """Join one layer with itself more often than any network does."""
    before = len(message.architecture.layers) - 1
    join = arch_pb.Layer(kind=arch_pb.LAYER_KIND_ADD, inputs=[before] * 100_000)
    message.architecture.layers.append(join)


def no_weights(message: pb.JobSpec) -> None:
    joined = arch_pb.Layer(kind=arch_pb.LAYER_KIND_CONCAT, inputs=[-1] * 10)
    mean = arch_pb.Layer(kind=arch_pb.LAYER_KIND_GLOBAL_AVERAGE_POOL)
    message.architecture.ClearField("layers")
    message.architecture.layers.extend([joined, mean])


LONGEST = Duration(seconds=2**63 - 1)
A = "spec.architecture"
T = "spec.latency_table"
CONV = arch_pb.LAYER_KIND_CONVOLUTION
GELU = arch_pb.LAYER_KIND_GELU
INVALID = [
    (layer(0, kernel=0), "INVALID_ARCHITECTURE", f"{A}.layers[0].kernel"),
    (layer(0, kernel=-5), "INVALID_ARCHITECTURE", f"{A}.layers[0].kernel"),
    (layer(0, stride=-MAX), "INVALID_ARCHITECTURE", f"{A}.layers[0].stride"),
    (layer(0, kernel=MAX), "LIMIT_EXCEEDED", f"{A}.layers[0].kernel"),
    (layer(0, out_channels=MAX), "LIMIT_EXCEEDED", f"{A}.layers[0].out_channels"),
    (layer(0, out_channels=-MAX - 1), "INVALID_ARCHITECTURE", f"{A}.layers[0].out_channels"),
    (layer(0, groups=3), "INVALID_ARCHITECTURE", f"{A}.layers[0].groups"),
    (layer(2, kernel=3), "INVALID_ARCHITECTURE", f"{A}.layers[2].kernel"),
    (layer(4, kind=0), "INVALID_ARCHITECTURE", f"{A}.layers[4].kind"),
    (layer(4, kind=99), "INVALID_ARCHITECTURE", f"{A}.layers[4].kind"),
    (shape(channels=3), "SHAPE_MISMATCH", f"{A}.input_shape"),
    (shape(height=MAX), "SHAPE_MISMATCH", f"{A}.input_shape"),
    (no_layers, "INVALID_ARCHITECTURE", f"{A}.layers"),
    (deep, "LIMIT_EXCEEDED", f"{A}.layers"),
    (many_inputs, "INVALID_ARCHITECTURE", f"{A}.layers[26].inputs"),
    (no_weights, "INVALID_ARCHITECTURE", A),
    (no_model, "INVALID_FIELD", A),
    (no_dataset, "INVALID_FIELD", "spec.dataset"),
    (spec(dataset="imagenet"), "UNKNOWN_DATASET", "spec.dataset"),
    (spec(network="alexnet"), "UNKNOWN_NETWORK", "spec.network"),
    (spec(budget=pb.Budget(max_params=0)), "INVALID_BUDGET", "spec.budget.max_params"),
    (spec(budget=pb.Budget(max_macs=-1)), "INVALID_BUDGET", "spec.budget.max_macs"),
    (
        spec(budget=pb.Budget(max_params_ratio=1.5)),
        "INVALID_BUDGET",
        "spec.budget.max_params_ratio",
    ),
    (
        spec(budget=pb.Budget(min_accuracy=float("nan"))),
        "INVALID_BUDGET",
        "spec.budget.min_accuracy",
    ),
    (spec(budget=pb.Budget(max_params=3)), "BUDGET_INFEASIBLE", "spec.budget.max_params"),
    (spec(budget=pb.Budget(max_latency=Duration())), "INVALID_BUDGET", "spec.budget.max_latency"),
    (table(seconds=-1.0), "INVALID_BUDGET", "spec.budget.max_latency"),
    (spec(budget=pb.Budget(max_latency=LONGEST)), "INVALID_BUDGET", "spec.budget.max_latency"),
    (table(seconds=0.0), "INVALID_FIELD", T),
    (table(seconds=1e-9), "BUDGET_INFEASIBLE", "spec.budget.max_latency"),
    (table(fixed=-1e-6), "INVALID_FIELD", f"{T}.fixed_seconds"),
    (
        table(pb.LayerLatency(kind=arch_pb.LAYER_KIND_UNSPECIFIED)),
        "INVALID_FIELD",
        f"{T}.layers[10].kind",
    ),
    (
        table(pb.LayerLatency(kind=arch_pb.LayerKind.ValueType(99))),
        "INVALID_FIELD",
        f"{T}.layers[10].kind",
    ),
    (
        table(pb.LayerLatency(kind=GELU, seconds_per_mac=-1.0)),
        "INVALID_FIELD",
        f"{T}.layers[10].seconds_per_mac",
    ),
    (
        table(pb.LayerLatency(kind=GELU, seconds_per_output=math.nan)),
        "INVALID_FIELD",
        f"{T}.layers[10].seconds_per_output",
    ),
    (
        table(pb.LayerLatency(kind=GELU, fixed_seconds=math.inf)),
        "INVALID_FIELD",
        f"{T}.layers[10].fixed_seconds",
    ),
    (table(fixed=1e300), "INVALID_FIELD", f"{T}.fixed_seconds"),
    (table(pb.LayerLatency(kind=CONV)), "INVALID_FIELD", f"{T}.layers[10]"),
    (table(pb.LayerLatency(kind=GELU, kernel=3)), "INVALID_FIELD", f"{T}.layers[10].kernel"),
    (table(pb.LayerLatency(kind=CONV, kernel=32)), "INVALID_FIELD", f"{T}.layers[10].kernel"),
    (table(*[pb.LayerLatency(kind=CONV)] * 600), "INVALID_FIELD", f"{T}.layers"),
    (table(*[pb.LayerLatency()] * 600), "INVALID_FIELD", f"{T}.layers"),
    (
        spec(
            latency_table=pb.LatencyTable(layers=[pb.LayerLatency(kind=CONV)]),
            budget=pb.Budget(max_latency=Duration(seconds=1)),
        ),
        "INVALID_FIELD",
        f"{T}.layers",
    ),
    (spec(effort=17), "INVALID_FIELD", "spec.effort"),
    (spec(method=17), "INVALID_FIELD", "spec.method"),
    (spec(priority=101), "INVALID_FIELD", "spec.priority"),
    (spec(pareto_models=9), "INVALID_FIELD", "spec.pareto_models"),
    (spec(pareto_models=-1), "INVALID_FIELD", "spec.pareto_models"),
    (spec(training_seeds=9), "INVALID_FIELD", "spec.training_seeds"),
    (spec(training_seeds=-1), "INVALID_FIELD", "spec.training_seeds"),
    (spec(max_run_time=Duration(seconds=-1)), "INVALID_FIELD", "spec.max_run_time"),
    (spec(max_run_time=Duration(seconds=2**60)), "INVALID_FIELD", "spec.max_run_time"),
    (spec(max_queue_time=Duration(seconds=-1)), "INVALID_FIELD", "spec.max_queue_time"),
    (spec(max_queue_time=LONGEST), "INVALID_FIELD", "spec.max_queue_time"),
    (spec(labels={"UPPER": "x"}), "INVALID_FIELD", "spec.labels"),
    (spec(labels={"a": "x" * 129}), "INVALID_FIELD", "spec.labels"),
    (spec(labels={"a": "x\0"}), "INVALID_FIELD", "spec.labels"),
    (spec(labels={str(i): "" for i in range(33)}), "INVALID_FIELD", "spec.labels"),
]


async def test_every_bad_field_is_named_with_its_reason(
    stub: CompressionServiceAsyncStub, server: Server
) -> None:
    for change, reason, path in INVALID:
        message = valid()
        change(message)
        request = service_pb.CreateJobRequest(spec=message)
        code, found, fields, _ = await refusal(stub.CreateJob(request))
        assert (code, found) == (grpc.StatusCode.INVALID_ARGUMENT, reason), (path, fields)
        assert path in fields, (reason, fields)
    assert server.leases.store.list().jobs == ()
    # Refusals are counted under their reasons, and nothing else is.
    counted = {
        sample.labels["reason"]: sample.value
        for metric in server.metrics.rejected.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.value
    }
    reasons = [reason for _, reason, _ in INVALID]
    assert counted == {reason: reasons.count(reason) for reason in set(reasons)}


async def test_all_faults_come_at_once(stub: CompressionServiceAsyncStub) -> None:
    message = valid()
    message.architecture.layers[0].kernel = 99
    message.architecture.layers[3].stride = 0
    message.budget.max_params = 0
    message.priority = 1000
    request = service_pb.CreateJobRequest(spec=message, request_id="no uuid")
    _, _, fields, _ = await refusal(stub.CreateJob(request))
    assert fields == [
        "request_id",
        f"{A}.layers[0].kernel",
        f"{A}.layers[3].stride",
        "spec.budget.max_params",
        "spec.priority",
    ]


async def test_every_bad_entry_of_a_table_is_named(stub: CompressionServiceAsyncStub) -> None:
    message = valid()
    table(
        pb.LayerLatency(kind=GELU, kernel=3, seconds_per_mac=-1.0),
        pb.LayerLatency(kind=arch_pb.LAYER_KIND_UNSPECIFIED),
        pb.LayerLatency(kind=CONV, kernel=5),
        pb.LayerLatency(kind=CONV, kernel=5),
        fixed=math.nan,
    )(message)
    _, _, fields, _ = await refusal(stub.CreateJob(service_pb.CreateJobRequest(spec=message)))
    assert sorted(fields) == [
        f"{T}.fixed_seconds",
        f"{T}.layers[10].kernel",
        f"{T}.layers[10].seconds_per_mac",
        f"{T}.layers[11].kind",
        f"{T}.layers[13]",
    ]


async def test_details_fit_into_trailers(stub: CompressionServiceAsyncStub) -> None:
    message = valid()
    for _ in range(400):
        message.architecture.layers.add(kind=arch_pb.LAYER_KIND_CONVOLUTION, kernel=-1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CreateJob(service_pb.CreateJobRequest(spec=message))
    status, details = status_of(caught.value)
    assert status.ByteSize() <= 4096
    assert len(status.message.encode()) <= 512
    assert details["BadRequest"].field_violations[-1].description.endswith("more violations")


async def test_metadata_help_a_program(stub: CompressionServiceAsyncStub) -> None:
    async def metadata(change: Callable[[pb.JobSpec], None]) -> dict[str, str]:
        message = valid()
        change(message)
        return (await refusal(stub.CreateJob(service_pb.CreateJobRequest(spec=message))))[3]

    assert await metadata(spec(dataset="x")) == {"dataset": "x", "known": "fashion-mnist, cifar10"}
    assert await metadata(layer(0, kernel=0)) == {"layer": "0", "kind": "CONVOLUTION"}
    limit = {"limit": "max_kernel", "maximum": "31", "actual": str(MAX)}
    assert await metadata(layer(0, kernel=MAX)) == limit
    infeasible = await metadata(spec(budget=pb.Budget(max_params=3)))
    assert int(infeasible["max_params"]) > 3
    # Two layers of a microsecond: a convolution and the classifier.
    assert await metadata(table(seconds=1e-9)) == {"max_latency": "0.000002000s"}
    assert await metadata(shape(channels=3)) == {
        "expected": "[1, 28, 28]",
        "actual": "[3, 28, 28]",
    }


async def test_what_is_not_offered_says_so(stub: CompressionServiceAsyncStub) -> None:
    message = valid()
    message.method = pb.METHOD_PAPER
    code, reason, _, metadata = await refusal(
        stub.CreateJob(service_pb.CreateJobRequest(spec=message))
    )
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_EMBEDDING")
    assert metadata == {"dataset": "fashion-mnist", "method": "paper"}


async def test_names_that_do_not_exist(
    stub: CompressionServiceAsyncStub, channel: grpc.aio.Channel
) -> None:
    artifacts = ArtifactServiceStub(channel)
    for name in ("", "x", "jobs/", f"jobs/{uuid.uuid4()}", "jobs/../../etc", "artifacts/\0"):
        for call in (
            stub.GetJob(service_pb.GetJobRequest(name=name)),
            stub.CancelJob(service_pb.CancelJobRequest(name=name)),
            stub.DeleteJob(service_pb.DeleteJobRequest(name=name)),
        ):
            code, reason, _, _ = await refusal(call)
            assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
        watch = stub.WatchJob(service_pb.WatchJobRequest(name=name))
        assert (await refusal(watch.read()))[1] == "JOB_NOT_FOUND"
        get = artifacts.GetArtifact(artifact_pb.GetArtifactRequest(name=name))
        assert (await refusal(get))[1] == "ARTIFACT_NOT_FOUND"


async def test_bad_lists_and_plans(stub: CompressionServiceAsyncStub) -> None:
    for request, path in (
        (service_pb.ListJobsRequest(page_size=-1), "page_size"),
        (service_pb.ListJobsRequest(page_size=1001), "page_size"),
        (service_pb.ListJobsRequest(page_token="x"), "page_token"),
        (service_pb.ListJobsRequest(labels={"a": "\0"}), "labels"),
        (service_pb.ListJobsRequest(labels={"UPPER": "x"}), "labels"),
        (service_pb.ListJobsRequest(labels={f"a{i}": "" for i in range(2_000)}), "labels"),
        (service_pb.ListJobsRequest(states=[pb.JOB_STATE_UNSPECIFIED]), "states[0]"),
        (service_pb.ListJobsRequest(states=[pb.JOB_STATE_UNSPECIFIED] * 1000), "states"),
    ):
        answer = await refusal(stub.ListJobs(request))
        assert answer[1:3] == ("INVALID_FIELD", [path])
    plan = service_pb.PlanRequest(spec=valid(), max_candidates=65)
    assert (await refusal(stub.Plan(plan)))[2] == ["max_candidates"]


async def test_a_reused_request_id(stub: CompressionServiceAsyncStub) -> None:
    request = service_pb.CreateJobRequest(spec=valid(), request_id=str(uuid.uuid4()))
    first = await stub.CreateJob(request)
    assert (await stub.CreateJob(request)).name == first.name
    request.spec.seed = 1
    code, reason, _, metadata = await refusal(stub.CreateJob(request))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert metadata == {"request_id": request.request_id, "job": first.name}


async def test_validate_only_stores_nothing(
    stub: CompressionServiceAsyncStub, server: Server
) -> None:
    request = service_pb.CreateJobRequest(spec=valid(), validate_only=True)
    job = await stub.CreateJob(request)
    assert (job.name, job.state) == ("", pb.JOB_STATE_QUEUED)
    assert job.spec.effort == pb.EFFORT_DRAFT
    compress = service_pb.CompressRequest(spec=valid(), validate_only=True)
    events = [event async for event in stub.Compress(compress)]
    assert [event.WhichOneof("event") for event in events] == ["snapshot"]
    assert events[0].snapshot.name == ""
    assert server.leases.store.list().jobs == ()


async def details_of_a_second_job(
    stub: CompressionServiceAsyncStub, server: Server, limit: str
) -> dict[str, Any]:
    """Let one job wait by a limit of the store, and return how the second is refused."""
    object.__setattr__(server.leases.store, limit, 1)
    await stub.CreateJob(service_pb.CreateJobRequest(spec=valid()))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CreateJob(service_pb.CreateJobRequest(spec=valid()))
    _, details = status_of(caught.value)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return details


async def test_a_full_queue_says_when_to_retry(
    stub: CompressionServiceAsyncStub, server: Server
) -> None:
    details = await details_of_a_second_job(stub, server, "max_queued_jobs")
    assert set(details) == {"QuotaFailure", "RetryInfo"}


async def test_a_full_part_of_the_queue_names_the_principal(
    stub: CompressionServiceAsyncStub, server: Server
) -> None:
    details = await details_of_a_second_job(stub, server, "max_queued_jobs_per_principal")
    (violation,) = details["QuotaFailure"].violations
    assert violation.subject == "anonymous"
    assert "1 of your jobs" in violation.description
    assert details["RetryInfo"].retry_delay.seconds == 5


async def test_a_bug_shows_an_id_and_no_details(
    stub: CompressionServiceAsyncStub, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, job: str) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(type(server.leases.store), "get_all", broken)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetJob(service_pb.GetJobRequest(name=f"jobs/{uuid.uuid4()}"))
    status, details = status_of(caught.value)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert details["ErrorInfo"].metadata["error_id"] in status.message
    assert b"secret" not in status.SerializeToString()


@pytest.mark.parametrize("method", ["CreateJob", "Compress", "Plan"])
async def test_a_truncated_message_is_the_callers_fault(server: Server, method: str) -> None:
    whole = service_pb.CreateJobRequest(spec=valid()).SerializeToString()
    path = f"/archpress.v1.CompressionService/{method}"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        raw: Any = channel
        if method == "Compress":
            call = raw.unary_stream(path)(whole[:-3]).read()
        else:
            call = raw.unary_unary(path)(whole[:-3])
        code, reason, paths, _ = await refusal(call)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert paths == ["request"]


async def test_an_oversized_message_is_refused_by_its_size(
    server: Server, config: ServerConfig
) -> None:
    options = [("grpc.max_send_message_length", -1)]
    path = "/archpress.v1.CompressionService/CreateJob"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
        raw: Any = channel
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw.unary_unary(path)(bytes(config.max_message_bytes + 1))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(config.max_message_bytes) in (caught.value.details() or "")
