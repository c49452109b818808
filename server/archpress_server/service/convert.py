"""Values between messages and domain: the one place that knows both."""

from __future__ import annotations

import math
from typing import TypedDict

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from archpress_proto.v1 import architecture_pb2 as arch_pb
from archpress_proto.v1 import artifact_service_pb2 as artifact_pb
from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.types import (
    Budget,
    Candidate,
    Certificate,
    FrontModel,
    Latency,
    Plan,
    Progress,
    QuantizedModel,
    Waypoint,
)
from archpress_server.jobs.model import (
    ArtifactRecord,
    Event,
    JobRecord,
    JobResult,
    JobSpec,
    LogLine,
    State,
)
from archpress_server.service.errors import job_status
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture, Layer
from archpress_trainer.space.vocab import WEIGHTED, LayerKind

_INT64_MAX = 2**63 - 1
_DROPOUT_RATE = 0.5


def duration(seconds: float) -> Duration:
    """Return a span of time."""
    whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)


def seconds(message: Duration) -> float:
    """Return a span of time in seconds."""
    # Whole numbers divide to the nearest float, so that `duration` has an exact inverse.
    return (message.seconds * 1_000_000_000 + message.nanos) / 1_000_000_000


def timestamp(time: float) -> Timestamp:
    """Return a point of time from seconds since the epoch."""
    whole = math.floor(time)
    return Timestamp(seconds=whole, nanos=min(999_999_999, round((time - whole) * 1e9)))


def layer_from_proto(message: arch_pb.Layer) -> Layer:
    """Return a layer, unchecked; its kind must be known."""
    kind = LayerKind(message.kind)
    rate = _DROPOUT_RATE if kind is LayerKind.DROPOUT else 0.0
    return Layer(
        kind=kind,
        kernel=message.kernel,
        out_channels=message.out_channels,
        stride=message.stride,
        padding=message.padding,
        groups=message.groups if message.HasField("groups") else 1,
        bias=message.bias if message.HasField("bias") else None,
        rate=message.rate if message.HasField("rate") else rate,
        inputs=tuple(message.inputs),
    )


def layer_to_proto(layer: Layer, index: int) -> arch_pb.Layer:
    """Return layer `index` of an architecture; the implied input is left out."""
    message = arch_pb.Layer(
        kind=arch_pb.LayerKind.Name(int(layer.kind)),  # type: ignore[arg-type]
        kernel=layer.kernel,
        out_channels=layer.out_channels,
        stride=layer.stride,
        padding=layer.padding,
        inputs=() if layer.inputs == (index - 1,) else layer.inputs,
    )
    if layer.kind is LayerKind.CONVOLUTION and layer.groups != 1:
        message.groups = layer.groups
    if layer.kind in WEIGHTED and layer.bias is not None:
        message.bias = layer.bias
    if layer.kind is LayerKind.DROPOUT:
        message.rate = layer.rate
    return message


def architecture_from_proto(message: arch_pb.Architecture) -> Architecture:
    """Return an architecture of known layer kinds.

    Raises:
        ArchitectureError: it does not hold together.
    """
    shape = message.input_shape
    layers = tuple(layer_from_proto(layer) for layer in message.layers)
    return Architecture((shape.channels, shape.height, shape.width), message.classes, layers)


def architecture_to_proto(architecture: Architecture) -> arch_pb.Architecture:
    """Return the message of an architecture, with its inferred channels and biases."""
    return arch_pb.Architecture(
        input_shape=input_shape_to_proto(architecture.input_shape),
        classes=architecture.classes,
        layers=[layer_to_proto(layer, index) for index, layer in enumerate(architecture.layers)],
    )


def input_shape_to_proto(shape: tuple[int, int, int]) -> arch_pb.InputShape:
    """Return the message of an image's shape."""
    return arch_pb.InputShape(channels=shape[0], height=shape[1], width=shape[2])


def costs_to_proto(costs: Costs) -> arch_pb.Costs:
    """Return the message of some costs; the largest networks stop at its largest number."""
    return arch_pb.Costs(
        params=min(costs.params, _INT64_MAX),
        macs=min(costs.macs, _INT64_MAX),
        deployed_params=min(costs.deployed_params, _INT64_MAX),
        peak_activation_bytes=min(costs.peak_activation_bytes, _INT64_MAX),
    )


def budget_from_proto(message: pb.Budget) -> Budget:
    """Return a budget, unchecked."""
    values = {field.name: value for field, value in message.ListFields()}
    latency = values.pop("max_latency", None)
    return Budget(**values, max_latency_seconds=None if latency is None else seconds(latency))


def budget_to_proto(budget: Budget) -> pb.Budget:
    """Return the message of a budget."""
    latency = budget.max_latency_seconds
    return pb.Budget(
        max_params=budget.max_params,
        max_params_ratio=budget.max_params_ratio,
        max_macs=budget.max_macs,
        max_macs_ratio=budget.max_macs_ratio,
        max_latency=None if latency is None else duration(latency),
        min_accuracy=budget.min_accuracy,
        max_accuracy_drop=budget.max_accuracy_drop,
    )


def layer_latency_from_proto(message: pb.LayerLatency) -> LayerLatency:
    """Return a row of a latency table, unchecked; its kind must be known."""
    return LayerLatency(
        LayerKind(message.kind),
        message.kernel if message.HasField("kernel") else None,
        message.fixed_seconds,
        message.seconds_per_mac,
        message.seconds_per_output,
    )


def latency_table_to_proto(table: LatencyTable) -> pb.LatencyTable:
    """Return the message of a latency table."""
    return pb.LatencyTable(
        fixed_seconds=table.fixed_seconds,
        layers=[
            pb.LayerLatency(
                kind=arch_pb.LayerKind.Name(int(row.kind)),  # type: ignore[arg-type]
                kernel=row.kernel,
                fixed_seconds=row.fixed_seconds,
                seconds_per_mac=row.seconds_per_mac,
                seconds_per_output=row.seconds_per_output,
            )
            for row in table.layers
        ],
    )


def spec_to_proto(spec: JobSpec, *, brief: bool = False) -> pb.JobSpec:
    """Return the message of a specification; a brief one leaves the architecture out."""
    request = spec.request
    message = pb.JobSpec(
        dataset=request.dataset,
        budget=budget_to_proto(request.budget),
        effort=pb.Effort.Value(f"EFFORT_{request.effort.name}"),
        method=pb.Method.Value(f"METHOD_{request.method.name}"),
        seed=request.seed,
        labels=spec.labels,
        max_run_time=duration(spec.max_run_time_seconds),
        priority=spec.priority,
        pareto_models=request.pareto_models,
        int8=request.int8,
        training_seeds=request.training_seeds,
    )
    if spec.max_queue_time_seconds is not None:
        message.max_queue_time.CopyFrom(duration(spec.max_queue_time_seconds))
    if request.latency_table is not None:
        message.latency_table.CopyFrom(latency_table_to_proto(request.latency_table))
    if spec.network:
        message.network = spec.network
    elif spec.artifact:
        message.artifact = f"artifacts/{spec.artifact}"
    elif not brief:
        message.architecture.CopyFrom(architecture_to_proto(request.architecture))
    return message


def state_to_proto(state: State) -> pb.JobState.ValueType:
    """Return the message's state."""
    return pb.JobState.Value(f"JOB_STATE_{state.name}")


def state_from_proto(state: int) -> State | None:
    """Return a state; None if there is no such one."""
    if state == pb.JOB_STATE_UNSPECIFIED or state not in pb.JobState.values():
        return None
    return State[pb.JobState.Name(state).removeprefix("JOB_STATE_")]  # type: ignore[arg-type]


def progress_to_proto(progress: Progress) -> pb.Progress:
    """Return the message of some progress."""
    eta = progress.eta_seconds
    return pb.Progress(
        phase=pb.Phase.Value(f"PHASE_{progress.phase.name}"),
        step=progress.step,
        total_steps=progress.total_steps,
        loss=progress.loss,
        accuracy=progress.accuracy,
        eta=None if eta is None else duration(eta),
        message=progress.message,
        waypoint=_waypoint(progress.waypoint),
    )


def _waypoint(point: Waypoint | None) -> pb.Waypoint | None:
    if point is None:
        return None
    return pb.Waypoint(predicted_accuracy=point.accuracy, expected_params=point.params)


def candidate_to_proto(candidate: Candidate) -> pb.Candidate:
    """Return the message of a candidate."""
    return pb.Candidate(
        architecture=architecture_to_proto(candidate.architecture),
        costs=costs_to_proto(candidate.costs),
        **_predicted(candidate.prediction),
        validation_accuracy=candidate.validation_accuracy,
        chosen=candidate.chosen,
        rank=candidate.rank,
        inherits=candidate.inherits,
    )


def result_to_proto(result: JobResult, run_seconds: float, *, brief: bool = False) -> pb.Result:
    """Return the message of a result; a brief one leaves architectures out."""
    compression = result.compression
    nearest = result.nearest_budget
    front = zip(result.front, compression.front, strict=True)
    int8 = compression.int8
    return pb.Result(
        artifact=f"artifacts/{result.artifact}",
        architecture=None if brief else architecture_to_proto(compression.architecture),
        costs_before=costs_to_proto(compression.costs_before),
        costs_after=costs_to_proto(compression.costs_after),
        accuracy_before=compression.accuracy_before,
        certificate=_certificate(compression.certificate),
        **_predicted(compression.prediction),
        budget_met=compression.budget_met,
        nearest_budget=None if nearest is None else budget_to_proto(nearest),
        run_time=duration(run_seconds),
        embedding=compression.embedding,
        optimism=compression.optimism,
        seed_accuracies=compression.seed_accuracies,
        front=[_front_model(artifact, model, brief) for artifact, model in front],
        int8=None if int8 is None else _quantized(result.int8, int8),
    )


def job_to_proto(job: JobRecord, *, brief: bool = False) -> pb.Job:
    """Return the message of a job; a brief one leaves out architectures and progress."""
    message = pb.Job(
        name=f"jobs/{job.id}" if job.id else "",
        state=state_to_proto(job.state),
        spec=spec_to_proto(job.spec, brief=brief),
        attempt=job.attempt,
        last_seq=job.last_seq,
        queue_position=job.queue_position,
        cached_result=job.cached_result,
        create_time=timestamp(job.create_time),
        start_time=None if job.start_time is None else timestamp(job.start_time),
        end_time=None if job.end_time is None else timestamp(job.end_time),
        expire_time=None if job.expire_time is None else timestamp(job.expire_time),
    )
    if job.progress is not None and not brief:
        message.progress.CopyFrom(progress_to_proto(job.progress))
    if job.result is not None:
        message.result.CopyFrom(result_to_proto(job.result, job.run_seconds, brief=brief))
    if job.error is not None:
        message.error.CopyFrom(job_status(job.error))
    return message


def event_to_proto(event: Event) -> pb.JobEvent:
    """Return the message of an entry of a job's log."""
    message = pb.JobEvent(job=f"jobs/{event.job}", seq=event.seq, time=timestamp(event.time))
    match event.payload:
        case JobRecord() as job:
            part = message.completed if job.state.final else message.snapshot
            part.CopyFrom(job_to_proto(job))
        case Progress() as progress:
            message.progress.CopyFrom(progress_to_proto(progress))
        case Candidate() as candidate:
            message.candidate.CopyFrom(candidate_to_proto(candidate))
        case LogLine() as line:
            message.log.severity = pb.LogSeverity.Value(f"LOG_SEVERITY_{line.severity.name}")
            message.log.text = line.text[:2000]
    return message


def heartbeat_to_proto(job: JobRecord, time: float) -> pb.JobEvent:
    """Return the sign of life of a job's stream."""
    beat = pb.Heartbeat(state=state_to_proto(job.state), queue_position=job.queue_position)
    return pb.JobEvent(job=f"jobs/{job.id}", time=timestamp(time), heartbeat=beat)


def plan_to_proto(plan: Plan) -> service_pb.Plan:
    """Return the message of a plan."""
    return service_pb.Plan(
        costs_before=costs_to_proto(plan.costs_before),
        candidates=[candidate_to_proto(candidate) for candidate in plan.candidates],
        embedding=plan.embedding,
        duration=duration(plan.seconds),
        warnings=plan.warnings,
        heir=None if plan.heir is None else candidate_to_proto(plan.heir),
    )


def artifact_to_proto(artifact: ArtifactRecord) -> artifact_pb.Artifact:
    """Return the message of an artifact."""
    expire = artifact.expire_time
    return artifact_pb.Artifact(
        name=f"artifacts/{artifact.id}",
        kind=artifact_pb.ARTIFACT_KIND_RESULT if artifact.job else artifact_pb.ARTIFACT_KIND_UPLOAD,
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        architecture=architecture_to_proto(artifact.architecture),
        costs=costs_to_proto(artifact.costs),
        job=f"jobs/{artifact.job}" if artifact.job else "",
        display_name=artifact.display_name,
        create_time=timestamp(artifact.create_time),
        expire_time=None if expire is None else timestamp(expire),
    )


class _Predicted(TypedDict, total=False):
    predicted_accuracy: float
    predicted_interval: pb.Interval


def _predicted(prediction: Prediction | None) -> _Predicted:
    if prediction is None:
        return {}
    interval = pb.Interval(lower=prediction.lower, upper=prediction.upper)
    return {"predicted_accuracy": prediction.accuracy, "predicted_interval": interval}


def _front_model(artifact: str, model: FrontModel, brief: bool) -> pb.FrontModel:
    return pb.FrontModel(
        artifact=f"artifacts/{artifact}",
        architecture=None if brief else architecture_to_proto(model.architecture),
        costs=costs_to_proto(model.costs),
        certificate=_certificate(model.certificate),
        **_predicted(model.prediction),
        validation_accuracy=model.validation_accuracy,
    )


def _quantized(artifact: str, model: QuantizedModel) -> pb.QuantizedModel:
    return pb.QuantizedModel(
        artifact=f"artifacts/{artifact}",
        sha256=model.sha256,
        size_bytes=model.size_bytes,
        calibration_images=model.calibration_images,
        test_images=model.test_images,
        accuracy=model.accuracy,
        accuracy_interval=pb.Interval(lower=model.accuracy_lower, upper=model.accuracy_upper),
        argmax_agreement=model.argmax_agreement,
        latency=_latency(model.latency),
        onnxruntime_version=model.onnxruntime_version,
    )


def _certificate(certificate: Certificate) -> pb.Certificate:
    return pb.Certificate(
        sha256=certificate.sha256,
        size_bytes=certificate.size_bytes,
        params_on_bytes=certificate.params_on_bytes,
        costs=costs_to_proto(certificate.costs),
        test_images=certificate.test_images,
        accuracy=certificate.accuracy,
        accuracy_interval=pb.Interval(
            lower=certificate.accuracy_lower, upper=certificate.accuracy_upper
        ),
        argmax_agreement=certificate.argmax_agreement,
        max_abs_logit_difference=certificate.max_abs_logit_difference,
        latency=_latency(certificate.latency),
        input_latency=_latency(certificate.input_latency),
        opset=certificate.opset,
        onnxruntime_version=certificate.onnxruntime_version,
        torch_version=certificate.torch_version,
    )


def _latency(latency: Latency) -> pb.LatencyMeasurement:
    return pb.LatencyMeasurement(
        median=duration(latency.median_seconds),
        p10=duration(latency.p10_seconds),
        p90=duration(latency.p90_seconds),
        threads=latency.threads,
        batch_size=latency.batch_size,
        runs=latency.runs,
        cpu_name=latency.cpu_name,
    )
