"""Jobs to JSON and back: the form in which the database keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields, replace
from functools import lru_cache
from typing import Any

from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.types import (
    Budget,
    Candidate,
    Certificate,
    Compression,
    Effort,
    FrontModel,
    Latency,
    Method,
    Phase,
    Progress,
    QuantizedModel,
    Request,
    Waypoint,
)
from archpress_server.jobs.model import (
    EventKind,
    JobError,
    JobRecord,
    JobResult,
    JobSpec,
    LogLine,
    Payload,
    Severity,
    State,
    Submission,
)
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.vocab import LayerKind

Json = dict[str, Any]


def dumps(record: Mapping[str, Any]) -> str:
    """Return compact JSON with sorted keys."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"))


def submission_digest(submission: Submission) -> str:
    """Return a SHA-256 (hex) over all that a repeated request must have in common.

    The embedding is the server's choice and may change between two tries. What a request has by
    default is left out, so that a server that knows of more fields finds the same.
    """
    spec, request = submission.spec, submission.spec.request
    chosen = _chosen(request, request_to_json(request))
    budget = _chosen(request.budget, asdict(request.budget))
    record = {
        "spec": _chosen(replace(spec, embedding=""), spec_to_json(spec))
        | {"embedding": "", "request": chosen | {"budget": budget}},
        "on_disconnect": submission.on_disconnect,
        "abandon_grace_seconds": submission.abandon_grace_seconds,
    }
    return hashlib.sha256(dumps(record).encode()).hexdigest()


def request_to_json(request: Request) -> Json:
    """Return plain JSON data."""
    return {
        **_shallow(request),
        "architecture": request.architecture.to_json(),
        "budget": asdict(request.budget),
        "latency_table": request.latency_table and asdict(request.latency_table),
    }


def request_from_json(record: Json) -> Request:
    """Inverse of `request_to_json`."""
    return Request(
        **{
            **record,
            "architecture": Architecture.from_json(record["architecture"]),
            "budget": Budget(**record["budget"]),
            "effort": Effort(record["effort"]),
            "method": Method(record["method"]),
            "latency_table": _latency_table(record.get("latency_table")),
        }
    )


def _latency_table(record: Json | None) -> LatencyTable | None:
    if record is None:
        return None
    rows = tuple(
        LayerLatency(**{**row, "kind": LayerKind(row["kind"])}) for row in record["layers"]
    )
    return LatencyTable(rows, record["fixed_seconds"])


def spec_to_json(spec: JobSpec) -> Json:
    """Return plain JSON data."""
    return {
        **_shallow(spec),
        "request": request_to_json(spec.request),
        "labels": dict(spec.labels),
    }


def spec_from_json(record: Json) -> JobSpec:
    """Inverse of `spec_to_json`."""
    return JobSpec(**{**record, "request": request_from_json(record["request"])})


@lru_cache(maxsize=128)
def spec_from_text(text: str) -> JobSpec:
    """Return the specification of a job's row; it never changes, and is read again and again."""
    return spec_from_json(json.loads(text))


def progress_to_json(progress: Progress) -> Json:
    """Return plain JSON data."""
    return {**_shallow(progress), "waypoint": progress.waypoint and _shallow(progress.waypoint)}


def progress_from_json(record: Json) -> Progress:
    """Inverse of `progress_to_json`."""
    # Jobs of earlier versions have no waypoints.
    point = record.get("waypoint")
    waypoint = Waypoint(**point) if point else None
    return Progress(**{**record, "phase": Phase(record["phase"]), "waypoint": waypoint})


def result_to_json(result: JobResult) -> Json:
    """Return plain JSON data; the models' bytes are left out."""
    compression = result.compression
    return {
        **_shallow(result),
        "nearest_budget": None if result.nearest_budget is None else asdict(result.nearest_budget),
        "compression": {
            **_shallow(compression),
            "model": None,
            "architecture": compression.architecture.to_json(),
            "costs_before": asdict(compression.costs_before),
            "costs_after": asdict(compression.costs_after),
            "prediction": compression.prediction and asdict(compression.prediction),
            "certificate": asdict(compression.certificate),
            "front": [_front_model_to_json(model) for model in compression.front],
            "int8": compression.int8 and {**asdict(compression.int8), "model": None},
        },
    }


def result_from_json(record: Json) -> JobResult:
    """Inverse of `result_to_json`, with empty bytes."""
    compression = record["compression"]
    nearest, int8 = record["nearest_budget"], compression.get("int8")
    return JobResult(
        **{
            **record,
            "front": tuple(record.get("front", ())),
            "nearest_budget": None if nearest is None else Budget(**nearest),
            "compression": Compression(
                **{
                    **compression,
                    "model": b"",
                    "architecture": Architecture.from_json(compression["architecture"]),
                    "costs_before": Costs(**compression["costs_before"]),
                    "costs_after": Costs(**compression["costs_after"]),
                    "prediction": _prediction_from_json(compression),
                    "certificate": _certificate_from_json(compression["certificate"]),
                    "front": tuple(map(_front_model_from_json, compression.get("front", ()))),
                    "int8": int8 and _quantized_from_json(int8),
                    "seed_accuracies": tuple(compression.get("seed_accuracies", ())),
                }
            ),
        }
    )


def _prediction_from_json(record: Json) -> Prediction | None:
    prediction = record["prediction"]
    return prediction and Prediction(**prediction)


def _front_model_to_json(model: FrontModel) -> Json:
    record = asdict(replace(model, model=b""))
    return {**record, "model": None, "architecture": model.architecture.to_json()}


def _front_model_from_json(record: Json) -> FrontModel:
    return FrontModel(
        **{
            **record,
            "model": b"",
            "architecture": Architecture.from_json(record["architecture"]),
            "costs": Costs(**record["costs"]),
            "prediction": _prediction_from_json(record),
            "certificate": _certificate_from_json(record["certificate"]),
        }
    )


def _certificate_from_json(record: Json) -> Certificate:
    return Certificate(
        **{
            **record,
            "costs": Costs(**record["costs"]),
            "latency": Latency(**record["latency"]),
            "input_latency": Latency(**record["input_latency"]),
        }
    )


def _quantized_from_json(record: Json) -> QuantizedModel:
    return QuantizedModel(**{**record, "model": b"", "latency": Latency(**record["latency"])})


def error_to_json(error: JobError) -> Json:
    """Return plain JSON data."""
    return {"reason": error.reason, "message": error.message, "metadata": dict(error.metadata)}


def error_from_json(record: Json) -> JobError:
    """Inverse of `error_to_json`."""
    return JobError(**record)


def payload_to_json(payload: Payload) -> Json:
    """Return plain JSON data; of a job all but its id and its specification, which never change."""
    match payload:
        case JobRecord():
            record = _shallow(payload)
            del record["spec"], record["id"]
            record["progress"] = payload.progress and progress_to_json(payload.progress)
            record["result"] = payload.result and result_to_json(payload.result)
            record["error"] = payload.error and error_to_json(payload.error)
            return record
        case Progress():
            return progress_to_json(payload)
        case Candidate():
            return payload.to_json()
        case LogLine():
            return _shallow(payload)


def payload_from_json(kind: EventKind, record: Json, job: str, spec: JobSpec) -> Payload:
    """Inverse of `payload_to_json`, for an event of a job with this specification."""
    match kind:
        case EventKind.PROGRESS:
            return progress_from_json(record)
        case EventKind.CANDIDATE:
            return Candidate.from_json(record)
        case EventKind.LOG:
            return LogLine(Severity(record["severity"]), record["text"])
        case EventKind.SNAPSHOT | EventKind.COMPLETED:
            parts = {
                "state": State(record["state"]),
                "progress": record["progress"] and progress_from_json(record["progress"]),
                "result": record["result"] and result_from_json(record["result"]),
                "error": record["error"] and error_from_json(record["error"]),
            }
            return JobRecord(**{**record, **parts, "id": job, "spec": spec})


def _chosen(value: Any, record: Json) -> Json:
    """Return what an object's record has other than by default."""
    return {
        item.name: record[item.name]
        for item in fields(value)
        if getattr(value, item.name) != _default(item)
    }


def _default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def _shallow(value: Any) -> Json:
    return {item.name: getattr(value, item.name) for item in fields(value)}
