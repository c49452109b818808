"""A job as a server tells it: what it is asked for, what it finds, its log and its end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2

from archpress_proto.v1 import architecture_pb2, jobs_pb2

MODEL = bytes(range(256)) * 2600
"""Stands for an ONNX file; several chunks long."""


def error_status(
    code: grpc.StatusCode,
    message: str,
    reason: str,
    metadata: Mapping[str, str] | None = None,
    violations: Sequence[tuple[str, str]] = (),
    retry_after: Duration | None = None,
) -> status_pb2.Status:
    status = status_pb2.Status(code=code_pb2.Code.Value(code.name), message=message)
    info = error_details_pb2.ErrorInfo(reason=reason, domain="archpress", metadata=metadata or {})
    status.details.add().Pack(info)
    if violations:
        bad_request = error_details_pb2.BadRequest()
        for path, description in violations:
            bad_request.field_violations.add(field=path, description=description)
        status.details.add().Pack(bad_request)
    if retry_after is not None:
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=retry_after))
    return status


def architecture() -> architecture_pb2.Architecture:
    kinds = architecture_pb2.LayerKind
    return architecture_pb2.Architecture(
        input_shape=architecture_pb2.InputShape(channels=1, height=28, width=28),
        classes=10,
        layers=[
            architecture_pb2.Layer(
                kind=kinds.LAYER_KIND_CONVOLUTION, kernel=3, out_channels=8, stride=1, padding=1
            ),
            architecture_pb2.Layer(kind=kinds.LAYER_KIND_BATCH_NORM, out_channels=8),
            architecture_pb2.Layer(kind=kinds.LAYER_KIND_DROPOUT),
            architecture_pb2.Layer(kind=kinds.LAYER_KIND_LINEAR, out_channels=10, bias=True),
        ],
    )


def costs(params: int) -> architecture_pb2.Costs:
    return architecture_pb2.Costs(
        params=params, macs=50 * params, deployed_params=params - 10, peak_activation_bytes=150_528
    )


def candidate(rank: int) -> jobs_pb2.Candidate:
    return jobs_pb2.Candidate(
        architecture=architecture(),
        costs=costs(40_000 + rank),
        predicted_accuracy=0.93,
        predicted_interval=jobs_pb2.Interval(lower=0.92, upper=0.94),
        rank=rank,
    )


def heir(rank: int) -> jobs_pb2.Candidate:
    """A narrowed network that the embedding cannot read."""
    return jobs_pb2.Candidate(
        architecture=architecture(), costs=costs(40_000 + rank), rank=rank, inherits=True
    )


def result() -> jobs_pb2.Result:
    return jobs_pb2.Result(
        artifact="artifacts/one",
        architecture=architecture(),
        costs_before=costs(708_000),
        costs_after=costs(48_000),
        accuracy_before=0.94,
        certificate=jobs_pb2.Certificate(
            sha256=hashlib.sha256(MODEL).hexdigest(),
            size_bytes=len(MODEL),
            params_on_bytes=47_990,
            costs=costs(48_000),
            test_images=10_000,
            accuracy=0.9312,
            accuracy_interval=jobs_pb2.Interval(lower=0.9261, upper=0.936),
            argmax_agreement=1.0,
            max_abs_logit_difference=3.1e-6,
            latency=_latency(200),
            input_latency=_latency(2_000),
            opset=18,
            onnxruntime_version="1.32.0",
            torch_version="2.14.1",
        ),
        predicted_accuracy=0.93,
        predicted_interval=jobs_pb2.Interval(lower=0.92, upper=0.94),
        budget_met=True,
        run_time=Duration(seconds=61),
        seed_accuracies=[0.92, 0.9321],
        embedding="fashion-mnist-default-1",
    )


def _latency(micros: int) -> jobs_pb2.LatencyMeasurement:
    return jobs_pb2.LatencyMeasurement(
        median=Duration(nanos=1000 * micros),
        p10=Duration(nanos=900 * micros),
        p90=Duration(nanos=1200 * micros),
        threads=1,
        batch_size=1,
        runs=200,
        cpu_name="A CPU [x]",
    )


def final_job(job: jobs_pb2.Job, how: str) -> jobs_pb2.Job:
    final = jobs_pb2.Job()
    final.CopyFrom(job)
    final.state = jobs_pb2.JobState.Value(f"JOB_STATE_{how.upper()}")
    final.end_time.CopyFrom(Timestamp(seconds=1_800_000_060))
    if how == "failed":
        code = grpc.StatusCode.FAILED_PRECONDITION
        final.error.CopyFrom(error_status(code, "93.1% is below 95%", "BUDGET_UNREACHABLE"))
    if how != "cancelled":
        final.result.CopyFrom(result())
        final.result.budget_met = how == "succeeded"
    if how == "failed":
        final.result.nearest_budget.min_accuracy = 0.9312
    return final


def log_of(job: jobs_pb2.Job, how: str = "succeeded") -> list[jobs_pb2.JobEvent]:
    """Return a job's whole log, numbered from 1."""
    running = jobs_pb2.Job()
    running.CopyFrom(job)
    running.state = jobs_pb2.JobState.JOB_STATE_RUNNING
    steps = [
        jobs_pb2.Progress(
            phase=jobs_pb2.Phase.PHASE_RETRAIN,
            step=step,
            total_steps=4,
            loss=1.0 / step,
            accuracy=0.8 + 0.02 * step,
            eta=Duration(seconds=60 - step),
            message="epoch [of the winner]",
        )
        for step in range(1, 5)
    ]
    events = [
        jobs_pb2.JobEvent(snapshot=job),
        jobs_pb2.JobEvent(snapshot=running),
        *(jobs_pb2.JobEvent(candidate=found) for found in (candidate(1), heir(2))),
        *(jobs_pb2.JobEvent(progress=step) for step in steps),
        jobs_pb2.JobEvent(log=jobs_pb2.LogLine(text="a line [not markup]")),
        jobs_pb2.JobEvent(completed=final_job(job, how)),
    ]
    for seq, event in enumerate(events, 1):
        event.job = job.name
        event.seq = seq
        event.time.CopyFrom(Timestamp(seconds=1_800_000_000 + seq))
    return events
