"""From arguments to requests: checks what can be checked without a server."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from numbers import Real
from typing import TypeVar

from archpress_client._convert_job import state_to_proto
from archpress_client._convert_spec import spec_to_proto
from archpress_client._durations import duration_to_proto
from archpress_client._errors import FieldViolation, InvalidRequestError
from archpress_client._latency_table import LatencyTable
from archpress_client._network import Layer, LayerKind, Network
from archpress_client._types import Budget, JobSpec, JobState
from archpress_proto.v1.compression_service_pb2 import (
    CreateJobRequest,
    ListJobsRequest,
    PlanRequest,
    WatchJobRequest,
)

E = TypeVar("E", bound=StrEnum)

_LABEL_KEY = re.compile(r"[a-z0-9._/-]{1,63}")
_JOB_NAME = re.compile(r"jobs/[A-Za-z0-9._-]{1,128}")
_INT32, _INT64, _UINT64 = 2**31 - 1, 2**63 - 1, 2**64 - 1
_LONGEST_SECONDS = 315_576_000_000
"""Of a google.protobuf.Duration."""


def create_job(spec: JobSpec, request_id: str | None) -> CreateJobRequest:
    """Return the request that creates a job; without `request_id` it gets a new one."""
    violations = list(_spec_violations(spec))
    if request_id is None:
        request_id = str(uuid.uuid4())
    elif not _is_uuid4(request_id):
        violations.append(FieldViolation("request_id", f"{request_id!r} is no UUID of version 4"))
    _refuse(violations)
    return CreateJobRequest(spec=spec_to_proto(spec), request_id=request_id)


def plan(spec: JobSpec, max_candidates: int) -> PlanRequest:
    """Return the request for a plan."""
    violations = list(_spec_violations(spec))
    violations += _range("max_candidates", max_candidates, 0, 64)
    _refuse(violations)
    return PlanRequest(spec=spec_to_proto(spec), max_candidates=max_candidates)


def list_jobs(
    states: Iterable[JobState | str] | None, labels: Mapping[str, str] | None, page_size: int
) -> ListJobsRequest:
    """Return the request for the first page of jobs; `states` may be a single one."""
    named = [states] if isinstance(states, str) else states or ()
    wanted = [choice(JobState, "states", state) for state in named]
    violations = _range("page_size", page_size, 0, 1000)
    if not isinstance(labels, Mapping | None):
        violations.append(FieldViolation("labels", f"is {labels!r}, must map texts to texts"))
    else:
        violations += [
            FieldViolation("labels", f"{key!r}: {value!r} is no pair of texts")
            for key, value in (labels or {}).items()
            if not (_is_text(key) and _is_text(value))
        ]
    _refuse(violations)
    return ListJobsRequest(
        page_size=page_size,
        states=[state_to_proto(state) for state in wanted],
        labels=labels or {},
    )


def check_after_seq(after_seq: int) -> None:
    """Refuse what can be no event's number.

    Raises:
        InvalidRequestError: it is no whole number from 0 on.
    """
    _refuse(_range("after_seq", after_seq, 0, _UINT64))


def check_display_name(display_name: str) -> None:
    """Refuse what no message can carry as a name.

    Raises:
        InvalidRequestError: it is no text.
    """
    if not _is_text(display_name):
        _refuse([FieldViolation("display_name", f"is {display_name!r}, must be a text")])


def watch_job(name: str, after_seq: int, heartbeat_seconds: float) -> WatchJobRequest:
    """Return the request that follows a job."""
    return WatchJobRequest(
        name=name,
        after_seq=after_seq,
        heartbeat_interval=duration_to_proto(heartbeat_seconds),
    )


def job_name(name: str) -> str:
    """Return `name` if it can be a job's: `jobs/{id}`, or just the id."""
    full = name if str(name).startswith("jobs/") else f"jobs/{name}"
    if not (_is_text(name) and _JOB_NAME.fullmatch(full)):
        raise InvalidRequestError.of([FieldViolation("name", f"{name!r} is no name of a job")])
    return full


def choice(kind: type[E], field: str, value: str) -> E:
    """Return the member that `value` names, in either case; UNKNOWN cannot be named."""
    known = {str(member): member for member in kind if member.name != "UNKNOWN"}
    told = str(value) if isinstance(value, str) else value
    found = known.get(told.lower()) if isinstance(told, str) else None
    if found is None:
        text = f"is {told!r}, must be one of {', '.join(sorted(known))}"
        raise InvalidRequestError.of([FieldViolation(field, text)], reason="INVALID_FIELD")
    return found


def _refuse(violations: list[FieldViolation]) -> None:
    if violations:
        raise InvalidRequestError.of(violations, reason="INVALID_FIELD")


def _spec_violations(spec: JobSpec) -> Iterator[FieldViolation]:
    if isinstance(spec.network, Network):
        yield from _network_violations(spec.network)
    elif not (_is_text(spec.network) and spec.network):
        yield FieldViolation("spec.network", f"is {spec.network!r}, must be a name or a Network")
    if not (_is_text(spec.dataset) and spec.dataset):
        yield FieldViolation("spec.dataset", f"is {spec.dataset!r}, must be a name")
    yield from _budget_violations(spec.budget)
    table = spec.latency_table
    if table is not None and not isinstance(table, LatencyTable):
        yield FieldViolation("spec.latency_table", f"is {table!r}, must be a LatencyTable")
    elif table is not None:
        yield from table.violations()
    yield from _range("spec.seed", spec.seed, 0, _UINT64)
    yield from _range("spec.priority", spec.priority, -100, 100)
    yield from _range("spec.pareto_models", spec.pareto_models, 0, 8)
    yield from _range("spec.training_seeds", spec.training_seeds, 0, 8)
    if not isinstance(spec.int8, bool):
        yield FieldViolation("spec.int8", f"is {spec.int8!r}, must be True or False")
    yield from _span("spec.max_run_time", spec.max_run_time_seconds, 1.0)
    yield from _span("spec.max_queue_time", spec.max_queue_time_seconds, 0.0)
    if not isinstance(spec.labels, Mapping):
        yield FieldViolation("spec.labels", f"is {spec.labels!r}, must map texts to texts")
        return
    if len(spec.labels) > 32:
        yield FieldViolation("spec.labels", f"there are {len(spec.labels)}, at most 32 are kept")
    for key, value in spec.labels.items():
        if not (_is_text(key) and _LABEL_KEY.fullmatch(key)):
            yield FieldViolation("spec.labels", f"{key!r} is not 1 to 63 of [a-z0-9._/-]")
        if not _is_text(value):
            yield FieldViolation(f"spec.labels[{key}]", f"is {value!r}, must be a text")
        elif len(value) > 128:
            yield FieldViolation(f"spec.labels[{key}]", f"has {len(value)} characters, over 128")


def _budget_violations(budget: Budget) -> Iterator[FieldViolation]:
    path = "spec.budget"
    for name in ("max_params", "max_macs"):
        value = getattr(budget, name)
        if value is not None:
            yield from _range(f"{path}.{name}", value, 1, _INT64)
    for name in ("max_params_ratio", "max_macs_ratio"):
        ratio = getattr(budget, name)
        if ratio is not None and not _is_number(ratio):
            yield FieldViolation(f"{path}.{name}", f"is {ratio!r}, must be a number")
        elif ratio is not None and not 0.0 < ratio <= 1.0:
            yield FieldViolation(f"{path}.{name}", f"is {ratio}, must be above 0 and at most 1")
    for name in ("min_accuracy", "max_accuracy_drop"):
        fraction = getattr(budget, name)
        if fraction is not None and not _is_number(fraction):
            yield FieldViolation(f"{path}.{name}", f"is {fraction!r}, must be a number")
        elif fraction is not None and not 0.0 <= fraction <= 1.0:
            yield FieldViolation(f"{path}.{name}", f"is {fraction}, must be 0 to 1")
    yield from _span(f"{path}.max_latency", budget.max_latency_seconds, 1e-9)


def _network_violations(network: Network) -> Iterator[FieldViolation]:
    """Yield what the messages cannot carry; the server says whether the layers fit."""
    path = "spec.architecture"
    if not 1 <= len(network.layers) <= 512:
        yield FieldViolation(f"{path}.layers", f"there are {len(network.layers)}, must be 1 to 512")
    shape: object = network.input_shape
    if not (isinstance(shape, tuple | list) and len(shape) == 3):
        text = f"is {shape!r}, must be (channels, height, width)"
        yield FieldViolation(f"{path}.input_shape", text)
        return
    for name, value in zip(("channels", "height", "width"), network.input_shape, strict=True):
        yield from _range(f"{path}.input_shape.{name}", value, 1, _INT32)
    yield from _range(f"{path}.classes", network.classes, 2, _INT32)
    for index, layer in enumerate(network.layers):
        if not isinstance(layer, Layer):
            yield FieldViolation(f"{path}.layers[{index}]", f"is {layer!r}, must be a Layer")
            continue
        yield from _layer_violations(f"{path}.layers[{index}]", layer, index)


def _layer_violations(path: str, layer: Layer, index: int) -> Iterator[FieldViolation]:
    if not isinstance(layer.kind, LayerKind):
        yield FieldViolation(f"{path}.kind", f"is {layer.kind!r}, must be a LayerKind")
    if not isinstance(layer.bias, bool | None):
        yield FieldViolation(f"{path}.bias", f"is {layer.bias!r}, must be True, False or None")
    if not _is_number(layer.rate):
        yield FieldViolation(f"{path}.rate", f"is {layer.rate!r}, must be a number")
    for name in ("kernel", "out_channels", "stride", "padding", "groups"):
        yield from _range(f"{path}.{name}", getattr(layer, name), 0, _INT32)
    if not isinstance(layer.inputs, tuple | list):
        yield FieldViolation(f"{path}.inputs", f"is {layer.inputs!r}, must be indices of layers")
        return
    for source in layer.inputs:
        yield from _range(f"{path}.inputs", source, -1, index - 1)


def _range(field: str, value: int, low: int, high: int) -> list[FieldViolation]:
    if isinstance(value, bool) or not isinstance(value, int):
        return [FieldViolation(field, f"is {value!r}, must be a whole number")]
    if low <= value <= high:
        return []
    return [FieldViolation(field, f"is {value}, must be {low} to {high}")]


def _span(field: str, seconds: float | None, low: float) -> list[FieldViolation]:
    if seconds is None:
        return []
    if not _is_number(seconds):
        return [FieldViolation(field, f"is {seconds!r}, must be a number of seconds")]
    if low <= seconds <= _LONGEST_SECONDS:
        return []
    limits = f"{low:g} to {_LONGEST_SECONDS}"
    return [FieldViolation(field, f"is {seconds} seconds, must be {limits}")]


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    """Return whether a message can carry it: text without halves of characters."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_uuid4(text: str) -> bool:
    try:
        return uuid.UUID(text).version == 4
    except (ValueError, AttributeError, TypeError):
        return False
