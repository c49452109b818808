"""The main job through a real server and real workers, by the SDK and by the bare contract."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pytest
import torch
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status

from archpress_client import (
    CandidateEvent,
    Client,
    CompletedEvent,
    Event,
    JobFailedError,
    LogEvent,
    ProgressEvent,
)
from archpress_proto.v1.architecture_pb2 import (
    LAYER_KIND_BATCH_NORM,
    LAYER_KIND_CONVOLUTION,
    LAYER_KIND_GLOBAL_AVERAGE_POOL,
    LAYER_KIND_LINEAR,
    LAYER_KIND_MAX_POOL,
    LAYER_KIND_RELU,
    Architecture,
    InputShape,
)
from archpress_proto.v1.architecture_pb2 import Layer as ProtoLayer
from archpress_proto.v1.compression_service_pb2 import (
    CompressRequest,
    CreateJobRequest,
    WatchJobRequest,
)
from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceStub
from archpress_proto.v1.jobs_pb2 import JOB_STATE_QUEUED, JOB_STATE_SUCCEEDED, Budget, JobSpec
from archpress_server.compress.export import to_onnx
from archpress_server.service.convert_network import architecture_from_proto
from archpress_trainer.data.registry import DataSources
from archpress_trainer.space.build import build
from archpress_trainer.training.device import best_compute
from archpress_trainer.training.loop import train
from archpress_trainer.training.recipe import Recipe
from tests.e2e.networks import NETWORK


@pytest.mark.slow
def test_a_network_goes_in_and_a_certified_model_comes_out(
    target: str, tiny_sources: DataSources, tmp_path: Path
) -> None:
    events: list[Event] = []
    with Client(target) as client:
        job = client.compress(NETWORK, dataset="tiny", max_params=1_500, labels={"from": "e2e"})
        result = job.result(on_event=events.append, timeout_seconds=240)
        path = tmp_path / "small.onnx"
        result.save(path)
        listed = next(iter(client.jobs(labels={"from": "e2e"})))
    assert listed.name == job.name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == result.certificate.sha256
    assert result.certificate.params_on_bytes <= result.costs_after.params <= 1_500
    test = tiny_sources.load("tiny").test()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = test.images.numpy().astype(np.float32) / 255
    logits = session.run(None, {session.get_inputs()[0].name: images})[0]
    accuracy = float((logits.argmax(axis=1) == test.labels.numpy()).mean())
    assert accuracy == pytest.approx(result.certificate.accuracy)
    assert isinstance(events[-1], CompletedEvent)
    assert sum(isinstance(event, CandidateEvent) for event in events) >= 2
    assert sum(isinstance(event, ProgressEvent) for event in events) >= 3


@pytest.mark.slow
def test_an_uploaded_model_teaches_what_comes_out(
    target: str, tiny_sources: DataSources, tmp_path: Path
) -> None:
    dataset = tiny_sources.load("tiny")
    data, compute = dataset.split(), best_compute()
    generator = torch.Generator().manual_seed(0)
    network = build(architecture_from_proto(_architecture()), generator)
    recipe = Recipe("test", 12, batch_size=32, learning_rate=0.1, flip=False)
    trained = train(network, data.to(compute.device), recipe, generator, compute)
    path = tmp_path / "mine.onnx"
    path.write_bytes(to_onnx(network.cpu(), data.normalisation))
    events: list[Event] = []
    with Client(target) as client:
        model = client.upload(path)
        job = client.compress(model.artifact, dataset="tiny", max_params=1_500)
        result = job.result(on_event=events.append, timeout_seconds=240)
        assert job.status().spec.network == model.artifact
    assert result.accuracy_before == pytest.approx(trained.accuracy, abs=0.1)
    assert result.certificate.params_on_bytes <= 1_500
    lines = [event.text for event in events if isinstance(event, LogEvent)]
    assert not any("are not used" in line for line in lines)
    candidates = [event.candidate for event in events if isinstance(event, CandidateEvent)]
    heirs = [candidate for candidate in candidates if candidate.inherits]
    assert [heir.validation_accuracy is None for heir in heirs] == [True, False]
    assert sum(candidate.chosen for candidate in candidates) == 1


@pytest.mark.slow
def test_compress_by_the_contract_alone_survives_a_disconnect(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        stub = CompressionServiceStub(channel)
        spec = JobSpec(
            architecture=_architecture(), dataset="tiny", budget=Budget(max_params=1_000)
        )
        request = CompressRequest(spec=spec, request_id=str(uuid.uuid4()))
        stream = stub.Compress(request)
        first = next(stream)
        assert (first.seq, first.snapshot.state) == (1, JOB_STATE_QUEUED)
        stream.cancel()
        # The job goes on without its stream, and can be watched from where the stream ended.
        events = list(stub.WatchJob(WatchJobRequest(name=first.job, after_seq=1), timeout=240))
        logged = [event.seq for event in events if event.seq]
        assert logged == sorted(set(logged))
        assert logged[0] > 1
        assert events[-1].completed.state == JOB_STATE_SUCCEEDED
        # The same request_id is the same job: its whole log again, and no second training.
        again = list(stub.Compress(request, timeout=60))
        assert again[0].job == first.job
        assert again[-1].completed == events[-1].completed


@pytest.mark.slow
def test_an_accuracy_floor_out_of_reach_fails_with_the_best_model(target: str) -> None:
    with Client(target) as client:
        job = client.compress(NETWORK, dataset="tiny", max_params=150, min_accuracy=0.8)
        with pytest.raises(JobFailedError) as error:
            job.result(timeout_seconds=240)
        assert error.value.reason == "BUDGET_UNREACHABLE"
        assert error.value.result is not None
        assert len(error.value.result.model_bytes()) == error.value.result.certificate.size_bytes


def test_a_plan_needs_no_training(target: str) -> None:
    with Client(target) as client:
        plan = client.plan(NETWORK, dataset="tiny", max_params=2_000, max_candidates=5)
    assert len(plan.candidates) == 5
    assert all(candidate.costs.params <= 2_000 for candidate in plan.candidates)
    assert plan.heir is not None
    assert plan.heir.inherits
    assert plan.heir.costs.params <= 2_000
    assert len(plan.heir.network.layers) == len(NETWORK.layers)


def test_every_violation_comes_at_once(target: str) -> None:
    architecture = _architecture()
    architecture.layers[4].kernel = 40
    architecture.layers[8].out_channels = 2**31 - 1
    spec = JobSpec(architecture=architecture, dataset="nowhere", budget=Budget(max_params=0))
    with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError) as error:
        CompressionServiceStub(channel).CreateJob(CreateJobRequest(spec=spec))
    call = error.value
    assert isinstance(call, grpc.Call)
    assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert {violation.field for violation in violations(call)} == {
        "spec.dataset",
        "spec.budget.max_params",
        "spec.architecture.layers[4].kernel",
        "spec.architecture.layers[8].out_channels",
    }


def violations(call: grpc.Call) -> list[BadRequest.FieldViolation]:
    """Return the field violations in the details of a refused call."""
    trailers = {item[0]: item[1] for item in call.trailing_metadata() or ()}
    status = Status.FromString(trailers["grpc-status-details-bin"])
    found: list[BadRequest.FieldViolation] = []
    for detail in status.details:
        request = BadRequest()
        if detail.Unpack(request):
            found.extend(request.field_violations)
    return found


def _architecture() -> Architecture:
    """Return the same network in the words of the contract."""

    def conv(width: int) -> ProtoLayer:
        return ProtoLayer(
            kind=LAYER_KIND_CONVOLUTION, kernel=3, out_channels=width, stride=1, padding=1
        )

    return Architecture(
        input_shape=InputShape(channels=1, height=12, width=12),
        classes=4,
        layers=[
            conv(32),
            ProtoLayer(kind=LAYER_KIND_BATCH_NORM),
            ProtoLayer(kind=LAYER_KIND_RELU),
            ProtoLayer(kind=LAYER_KIND_MAX_POOL, kernel=2, stride=2),
            conv(32),
            ProtoLayer(kind=LAYER_KIND_BATCH_NORM),
            ProtoLayer(kind=LAYER_KIND_RELU),
            ProtoLayer(kind=LAYER_KIND_GLOBAL_AVERAGE_POOL),
            ProtoLayer(kind=LAYER_KIND_LINEAR, out_channels=4),
        ],
    )
