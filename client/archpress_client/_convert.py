"""Between the messages of the API and the client's own types; nothing else knows both.

The messages of networks are in `_convert_network`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from archpress_client import _events, _info
from archpress_client._convert_network import layer_kind, network_from_proto, network_to_proto
from archpress_client._durations import duration_from_proto, duration_to_proto
from archpress_client._errors import reason_of
from archpress_client._latency_table import LatencyTable, LayerLatency
from archpress_client._network import Network
from archpress_client._types import (
    Budget,
    Candidate,
    Certificate,
    Costs,
    Effort,
    Failure,
    FrontModel,
    Interval,
    Job,
    JobSpec,
    JobState,
    Latency,
    Method,
    ModelSource,
    Phase,
    Plan,
    Progress,
    QuantizedModel,
    Result,
    UploadedModel,
    Waypoint,
)
from archpress_proto.v1 import (
    architecture_pb2,
    artifact_service_pb2,
    compression_service_pb2,
    info_service_pb2,
    jobs_pb2,
)

E = TypeVar("E", bound=StrEnum)


def spec_to_proto(spec: JobSpec) -> jobs_pb2.JobSpec:
    """Return the message for a specification."""
    message = jobs_pb2.JobSpec(
        dataset=spec.dataset,
        effort=jobs_pb2.Effort.Value(f"EFFORT_{spec.effort.name}"),
        method=jobs_pb2.Method.Value(f"METHOD_{spec.method.name}"),
        seed=spec.seed,
        labels=dict(spec.labels),
        priority=spec.priority,
        pareto_models=spec.pareto_models,
        int8=spec.int8,
        training_seeds=spec.training_seeds,
    )
    if isinstance(spec.network, Network):
        message.architecture.CopyFrom(network_to_proto(spec.network))
    elif spec.network.startswith("artifacts/"):
        message.artifact = spec.network
    else:
        message.network = spec.network
    if spec.budget != Budget():
        message.budget.CopyFrom(_budget_to_proto(spec.budget))
    if spec.max_run_time_seconds is not None:
        message.max_run_time.CopyFrom(duration_to_proto(spec.max_run_time_seconds))
    if spec.max_queue_time_seconds is not None:
        message.max_queue_time.CopyFrom(duration_to_proto(spec.max_queue_time_seconds))
    if spec.latency_table is not None:
        message.latency_table.CopyFrom(_latency_table_to_proto(spec.latency_table))
    return message


def spec_from_proto(message: jobs_pb2.JobSpec) -> JobSpec:
    """Return the specification in a message."""
    table = message.latency_table
    network: str | Network = message.network or message.artifact
    if message.HasField("architecture"):
        network = network_from_proto(message.architecture)
    return JobSpec(
        network=network,
        dataset=message.dataset,
        budget=_budget_from_proto(message.budget),
        effort=_enum(Effort, message.effort, Effort.DRAFT),
        method=_enum(Method, message.method, Method.DEFAULT),
        seed=message.seed,
        labels=dict(message.labels),
        max_run_time_seconds=_seconds(message, "max_run_time"),
        max_queue_time_seconds=_seconds(message, "max_queue_time"),
        priority=message.priority,
        latency_table=_latency_table(table) if message.HasField("latency_table") else None,
        pareto_models=max(1, message.pareto_models),
        int8=message.int8,
        training_seeds=max(1, message.training_seeds),
    )


def _latency_table_to_proto(table: LatencyTable) -> jobs_pb2.LatencyTable:
    return jobs_pb2.LatencyTable(
        fixed_seconds=table.fixed_seconds,
        layers=[
            jobs_pb2.LayerLatency(
                kind=architecture_pb2.LayerKind.ValueType(row.kind.value),
                kernel=row.kernel,
                fixed_seconds=row.fixed_seconds,
                seconds_per_mac=row.seconds_per_mac,
                seconds_per_output=row.seconds_per_output,
            )
            for row in table.layers
        ],
    )


def _latency_table(message: jobs_pb2.LatencyTable) -> LatencyTable:
    return LatencyTable(
        fixed_seconds=message.fixed_seconds,
        layers=tuple(
            LayerLatency(
                kind=layer_kind(row.kind),
                kernel=row.kernel if row.HasField("kernel") else None,
                fixed_seconds=row.fixed_seconds,
                seconds_per_mac=row.seconds_per_mac,
                seconds_per_output=row.seconds_per_output,
            )
            for row in message.layers
        ),
    )


def _budget_to_proto(budget: Budget) -> jobs_pb2.Budget:
    latency = budget.max_latency_seconds
    return jobs_pb2.Budget(
        max_params=budget.max_params,
        max_params_ratio=budget.max_params_ratio,
        max_macs=budget.max_macs,
        max_macs_ratio=budget.max_macs_ratio,
        max_latency=None if latency is None else duration_to_proto(latency),
        min_accuracy=budget.min_accuracy,
        max_accuracy_drop=budget.max_accuracy_drop,
    )


def _budget_from_proto(message: jobs_pb2.Budget) -> Budget:
    return Budget(
        max_params=message.max_params if message.HasField("max_params") else None,
        max_params_ratio=_optional(message, "max_params_ratio"),
        max_macs=message.max_macs if message.HasField("max_macs") else None,
        max_macs_ratio=_optional(message, "max_macs_ratio"),
        max_latency_seconds=_seconds(message, "max_latency"),
        min_accuracy=_optional(message, "min_accuracy"),
        max_accuracy_drop=_optional(message, "max_accuracy_drop"),
    )


def job_from_proto(message: jobs_pb2.Job, source: ModelSource) -> Job:
    """Return the job in a message; its result fetches its bytes from `source`."""
    error = None
    if message.HasField("error"):
        reason, metadata = reason_of(message.error)
        error = Failure(reason, message.error.message, metadata)
    return Job(
        name=message.name,
        state=_enum(JobState, message.state, JobState.UNKNOWN),
        spec=spec_from_proto(message.spec),
        progress=progress_from_proto(message.progress) if message.HasField("progress") else None,
        result=result_from_proto(message.result, source) if message.HasField("result") else None,
        error=error,
        create_time=_time(message, "create_time"),
        start_time=_time(message, "start_time"),
        end_time=_time(message, "end_time"),
        expire_time=_time(message, "expire_time"),
        attempt=message.attempt,
        last_seq=message.last_seq,
        queue_position=message.queue_position,
        cached_result=message.cached_result,
    )


def progress_from_proto(message: jobs_pb2.Progress) -> Progress:
    """Return the progress in a message."""
    return Progress(
        phase=_enum(Phase, message.phase, Phase.UNKNOWN),
        step=message.step,
        total_steps=message.total_steps,
        loss=_optional(message, "loss"),
        accuracy=_optional(message, "accuracy"),
        eta_seconds=_seconds(message, "eta"),
        message=message.message,
        waypoint=_waypoint(message),
    )


def _waypoint(message: jobs_pb2.Progress) -> Waypoint | None:
    if not message.HasField("waypoint"):
        return None
    point = message.waypoint
    return Waypoint(
        predicted_accuracy=point.predicted_accuracy, expected_params=point.expected_params
    )


def candidate_from_proto(message: jobs_pb2.Candidate) -> Candidate:
    """Return the candidate in a message."""
    return Candidate(
        network=network_from_proto(message.architecture),
        costs=costs_from_proto(message.costs),
        predicted_accuracy=_optional(message, "predicted_accuracy"),
        predicted_interval=_optional_interval(message, "predicted_interval"),
        validation_accuracy=_optional(message, "validation_accuracy"),
        chosen=message.chosen,
        rank=message.rank,
        inherits=message.inherits,
    )


def upload_from_proto(message: artifact_service_pb2.Artifact) -> UploadedModel:
    """Return the uploaded model in a message."""
    return UploadedModel(
        artifact=message.name,
        sha256=message.sha256,
        size_bytes=message.size_bytes,
        network=network_from_proto(message.architecture),
        costs=costs_from_proto(message.costs),
        display_name=message.display_name,
        expire_time=_time(message, "expire_time"),
    )


def result_from_proto(message: jobs_pb2.Result, source: ModelSource) -> Result:
    """Return the result in a message."""
    nearest = message.nearest_budget
    return Result(
        artifact=message.artifact,
        network=network_from_proto(message.architecture),
        costs_before=costs_from_proto(message.costs_before),
        costs_after=costs_from_proto(message.costs_after),
        accuracy_before=_optional(message, "accuracy_before"),
        certificate=_certificate(message.certificate),
        predicted_accuracy=_optional(message, "predicted_accuracy"),
        predicted_interval=_optional_interval(message, "predicted_interval"),
        budget_met=message.budget_met,
        nearest_budget=_budget_from_proto(nearest) if message.HasField("nearest_budget") else None,
        run_time_seconds=_seconds(message, "run_time") or 0.0,
        embedding=message.embedding,
        optimism=_optional(message, "optimism"),
        seed_accuracies=tuple(message.seed_accuracies),
        front=tuple(_front_model(model, source) for model in message.front),
        int8=_quantized(message.int8, source) if message.HasField("int8") else None,
        _source=source,
    )


def _front_model(message: jobs_pb2.FrontModel, source: ModelSource) -> FrontModel:
    return FrontModel(
        artifact=message.artifact,
        network=network_from_proto(message.architecture),
        costs=costs_from_proto(message.costs),
        certificate=_certificate(message.certificate),
        predicted_accuracy=_optional(message, "predicted_accuracy"),
        predicted_interval=_optional_interval(message, "predicted_interval"),
        validation_accuracy=message.validation_accuracy,
        _source=source,
    )


def _quantized(message: jobs_pb2.QuantizedModel, source: ModelSource) -> QuantizedModel:
    return QuantizedModel(
        artifact=message.artifact,
        sha256=message.sha256,
        size_bytes=message.size_bytes,
        calibration_images=message.calibration_images,
        test_images=message.test_images,
        accuracy=message.accuracy,
        accuracy_interval=_interval(message.accuracy_interval),
        argmax_agreement=message.argmax_agreement,
        latency=_latency(message.latency) if message.HasField("latency") else None,
        onnxruntime_version=message.onnxruntime_version,
        _source=source,
    )


def _certificate(message: jobs_pb2.Certificate) -> Certificate:
    has_input = message.HasField("input_latency")
    return Certificate(
        sha256=message.sha256,
        size_bytes=message.size_bytes,
        params_on_bytes=message.params_on_bytes,
        costs=costs_from_proto(message.costs),
        test_images=message.test_images,
        accuracy=message.accuracy,
        accuracy_interval=_optional_interval(message, "accuracy_interval"),
        argmax_agreement=message.argmax_agreement,
        max_abs_logit_difference=message.max_abs_logit_difference,
        latency=_latency(message.latency) if message.HasField("latency") else None,
        input_latency=_latency(message.input_latency) if has_input else None,
        opset=message.opset,
        onnxruntime_version=message.onnxruntime_version,
        torch_version=message.torch_version,
    )


def _latency(message: jobs_pb2.LatencyMeasurement) -> Latency:
    return Latency(
        median_seconds=_seconds(message, "median") or 0.0,
        p10_seconds=_seconds(message, "p10") or 0.0,
        p90_seconds=_seconds(message, "p90") or 0.0,
        threads=message.threads,
        batch_size=message.batch_size,
        runs=message.runs,
        cpu_name=message.cpu_name,
    )


def costs_from_proto(message: architecture_pb2.Costs) -> Costs:
    """Return the costs in a message."""
    return Costs(
        params=message.params,
        macs=message.macs,
        deployed_params=message.deployed_params,
        peak_activation_bytes=message.peak_activation_bytes,
    )


def plan_from_proto(message: compression_service_pb2.Plan) -> Plan:
    """Return the plan in a message."""
    return Plan(
        costs_before=costs_from_proto(message.costs_before),
        candidates=tuple(candidate_from_proto(candidate) for candidate in message.candidates),
        embedding=message.embedding,
        duration_seconds=_seconds(message, "duration") or 0.0,
        warnings=tuple(message.warnings),
        heir=candidate_from_proto(message.heir) if message.HasField("heir") else None,
    )


def event_from_proto(message: jobs_pb2.JobEvent, source: ModelSource) -> _events.Incoming:
    """Return the event in a message."""
    seq, time = message.seq, _time(message, "time")
    match message.WhichOneof("event"):
        case "snapshot":
            return _events.SnapshotEvent(seq, time, job_from_proto(message.snapshot, source))
        case "progress":
            return _events.ProgressEvent(seq, time, progress_from_proto(message.progress))
        case "candidate":
            return _events.CandidateEvent(seq, time, candidate_from_proto(message.candidate))
        case "log":
            severity = _enum(_events.LogSeverity, message.log.severity, _events.LogSeverity.INFO)
            return _events.LogEvent(seq, time, severity, message.log.text)
        case "heartbeat":
            state = _enum(JobState, message.heartbeat.state, JobState.UNKNOWN)
            return _events.HeartbeatEvent(time, state, message.heartbeat.queue_position)
        case "gap":
            return _events.GapEvent(time, message.gap.to_seq)
        case "completed":
            return _events.CompletedEvent(seq, time, job_from_proto(message.completed, source))
        case _:
            return _events.UnknownEvent(seq, time)


def server_info_from_proto(message: info_service_pb2.ServerInfo) -> _info.ServerInfo:
    """Return the server's description in a message."""
    limits = message.limits
    return _info.ServerInfo(
        api_versions=tuple(message.api_versions),
        server_version=message.server_version,
        limits=_info.Limits(
            max_layers=limits.max_layers,
            max_channels=limits.max_channels,
            max_kernel=limits.max_kernel,
            max_stride=limits.max_stride,
            max_padding=limits.max_padding,
            max_input_side=limits.max_input_side,
            max_input_channels=limits.max_input_channels,
            max_classes=limits.max_classes,
            max_inline_bytes=limits.max_inline_bytes,
            max_message_bytes=limits.max_message_bytes,
            max_artifact_bytes=limits.max_artifact_bytes,
            max_candidates=limits.max_candidates,
            max_run_time_seconds=_seconds(limits, "max_run_time"),
        ),
        datasets=tuple(_dataset(dataset) for dataset in message.datasets),
        embeddings=tuple(_embedding(embedding) for embedding in message.embeddings),
        networks=tuple(
            _info.NetworkInfo(
                name=network.name, dataset=network.dataset, costs=costs_from_proto(network.costs)
            )
            for network in message.networks
        ),
        layer_kinds=tuple(layer_kind(kind) for kind in message.layer_kinds),
    )


def _dataset(message: info_service_pb2.DatasetInfo) -> _info.DatasetInfo:
    shape = message.input_shape
    return _info.DatasetInfo(
        name=message.name,
        input_shape=(shape.channels, shape.height, shape.width),
        classes=message.classes,
        train_images=message.train_images,
        validation_images=message.validation_images,
        test_images=message.test_images,
        fingerprint=message.fingerprint,
    )


def _embedding(message: info_service_pb2.EmbeddingInfo) -> _info.EmbeddingInfo:
    quality = None
    if message.HasField("quality"):
        quality = _info.EmbeddingQuality(
            accuracy_kendall_tau=message.quality.accuracy_kendall_tau,
            baseline_kendall_tau=message.quality.baseline_kendall_tau,
            exact_reconstruction=message.quality.exact_reconstruction,
            interval_coverage=message.quality.interval_coverage,
            mean_absolute_error=message.quality.mean_absolute_error,
            held_out_networks=message.quality.held_out_networks,
        )
    return _info.EmbeddingInfo(
        name=message.name,
        dataset=message.dataset,
        method=_enum(Method, message.method, Method.DEFAULT),
        space_hash=message.space_hash,
        fidelity_images=message.fidelity.train_images,
        fidelity_epochs=message.fidelity.epochs,
        fidelity_seeds=message.fidelity.seeds,
        population_size=message.population_size,
        covers_joins=message.covers_joins,
        quality=quality,
    )


def state_to_proto(state: JobState) -> jobs_pb2.JobState.ValueType:
    """Return the number of a state."""
    return jobs_pb2.JobState.Value(f"JOB_STATE_{state.name}")


_ENUMS = {
    Effort: (jobs_pb2.Effort, "EFFORT_"),
    JobState: (jobs_pb2.JobState, "JOB_STATE_"),
    Method: (jobs_pb2.Method, "METHOD_"),
    Phase: (jobs_pb2.Phase, "PHASE_"),
    _events.LogSeverity: (jobs_pb2.LogSeverity, "LOG_SEVERITY_"),
}


def _enum(kind: type[E], number: int, unknown: E) -> E:
    """Return the member of this number; `unknown` for 0 and for one of a newer server."""
    descriptor, prefix = _ENUMS[kind]
    value = descriptor.DESCRIPTOR.values_by_number.get(number)
    name = "" if value is None else value.name.removeprefix(prefix)
    return kind.__members__.get(name, unknown)


def _interval(message: jobs_pb2.Interval) -> Interval:
    return Interval(message.lower, message.upper)


def _optional_interval(message: Message, field: str) -> Interval | None:
    return _interval(getattr(message, field)) if message.HasField(field) else None


def _optional(message: Message, field: str) -> float | None:
    return float(getattr(message, field)) if message.HasField(field) else None


def _seconds(message: Message, field: str) -> float | None:
    if not message.HasField(field):
        return None
    return duration_from_proto(getattr(message, field))


def _time(message: Message, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    value: Timestamp = getattr(message, field)
    return value.ToDatetime(tzinfo=UTC)
