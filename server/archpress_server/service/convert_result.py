"""What a job found, from domain to messages: candidates, results, plans."""

from __future__ import annotations

from typing import TypedDict

from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.compress.types import (
    Candidate,
    Certificate,
    FrontModel,
    Latency,
    Plan,
    QuantizedModel,
)
from archpress_server.jobs.model import JobResult
from archpress_server.service.convert_network import architecture_to_proto, costs_to_proto
from archpress_server.service.convert_spec import budget_to_proto
from archpress_server.service.times import duration
from archpress_trainer.embedding.prediction import Prediction


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
