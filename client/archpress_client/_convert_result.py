"""What a job found: candidates, results and plans in messages of the API."""

from __future__ import annotations

from archpress_client._convert_network import costs_from_proto, network_from_proto
from archpress_client._convert_spec import budget_from_proto
from archpress_client._message_fields import interval, optional, optional_interval, seconds
from archpress_client._types import (
    Candidate,
    Certificate,
    FrontModel,
    Latency,
    ModelSource,
    Plan,
    QuantizedModel,
    Result,
)
from archpress_proto.v1 import compression_service_pb2, jobs_pb2


def candidate_from_proto(message: jobs_pb2.Candidate) -> Candidate:
    """Return the candidate in a message."""
    return Candidate(
        network=network_from_proto(message.architecture),
        costs=costs_from_proto(message.costs),
        predicted_accuracy=optional(message, "predicted_accuracy"),
        predicted_interval=optional_interval(message, "predicted_interval"),
        validation_accuracy=optional(message, "validation_accuracy"),
        chosen=message.chosen,
        rank=message.rank,
        inherits=message.inherits,
    )


def result_from_proto(message: jobs_pb2.Result, source: ModelSource) -> Result:
    """Return the result in a message."""
    nearest = message.nearest_budget
    return Result(
        artifact=message.artifact,
        network=network_from_proto(message.architecture),
        costs_before=costs_from_proto(message.costs_before),
        costs_after=costs_from_proto(message.costs_after),
        accuracy_before=optional(message, "accuracy_before"),
        certificate=_certificate(message.certificate),
        predicted_accuracy=optional(message, "predicted_accuracy"),
        predicted_interval=optional_interval(message, "predicted_interval"),
        budget_met=message.budget_met,
        nearest_budget=budget_from_proto(nearest) if message.HasField("nearest_budget") else None,
        run_time_seconds=seconds(message, "run_time") or 0.0,
        embedding=message.embedding,
        optimism=optional(message, "optimism"),
        seed_accuracies=tuple(message.seed_accuracies),
        front=tuple(_front_model(model, source) for model in message.front),
        int8=_quantized(message.int8, source) if message.HasField("int8") else None,
        _source=source,
    )


def plan_from_proto(message: compression_service_pb2.Plan) -> Plan:
    """Return the plan in a message."""
    return Plan(
        costs_before=costs_from_proto(message.costs_before),
        candidates=tuple(candidate_from_proto(candidate) for candidate in message.candidates),
        embedding=message.embedding,
        duration_seconds=seconds(message, "duration") or 0.0,
        warnings=tuple(message.warnings),
        heir=candidate_from_proto(message.heir) if message.HasField("heir") else None,
    )


def _front_model(message: jobs_pb2.FrontModel, source: ModelSource) -> FrontModel:
    return FrontModel(
        artifact=message.artifact,
        network=network_from_proto(message.architecture),
        costs=costs_from_proto(message.costs),
        certificate=_certificate(message.certificate),
        predicted_accuracy=optional(message, "predicted_accuracy"),
        predicted_interval=optional_interval(message, "predicted_interval"),
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
        accuracy_interval=interval(message.accuracy_interval),
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
        accuracy_interval=optional_interval(message, "accuracy_interval"),
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
        median_seconds=seconds(message, "median") or 0.0,
        p10_seconds=seconds(message, "p10") or 0.0,
        p90_seconds=seconds(message, "p90") or 0.0,
        threads=message.threads,
        batch_size=message.batch_size,
        runs=message.runs,
        cpu_name=message.cpu_name,
    )
