"""From request messages to what they ask for, with every fault of a request at once."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from archpress_proto.v1 import architecture_pb2 as arch_pb
from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.catalog import Catalog, OfferedEmbedding, suitable
from archpress_server.compress.checks import budget_violations, check_request
from archpress_server.compress.latency_checks import table_violations
from archpress_server.compress.latency_table import LatencyTable
from archpress_server.compress.types import (
    Budget,
    Effort,
    FieldViolation,
    Method,
    Reason,
    Request,
    RequestError,
)
from archpress_server.config import ServerConfig
from archpress_server.jobs.errors import ArtifactNotFoundError, JobNotFoundError
from archpress_server.jobs.model import ArtifactRecord, JobSpec, OnDisconnect, Submission
from archpress_server.result_key import result_key
from archpress_server.service.convert import (
    architecture_from_proto,
    budget_from_proto,
    layer_latency_from_proto,
    seconds,
)
from archpress_trainer.space.errors import ArchitectureError, Violation
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import NAMED, named
from archpress_trainer.space.vocab import LayerKind, Limits

MAX_INLINE_BYTES = 2**20
MAX_CANDIDATES = 64
MAX_MODELS = 8
MAX_SEEDS = 8

_DAY_SECONDS = 86_400.0
_LABEL_KEY = re.compile(r"[a-z0-9._/-]{1,63}")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LAYER_LIMITS = {
    "kernel": ("max_kernel", Limits.KERNEL),
    "out_channels": ("max_channels", Limits.CHANNELS),
    "stride": ("max_stride", Limits.STRIDE),
    "padding": ("max_padding", Limits.PADDING),
}
_HEADER_LIMITS = {
    "input_shape.channels": ("max_input_channels", Limits.INPUT_CHANNELS),
    "input_shape.height": ("max_input_side", Limits.INPUT_SIDE),
    "input_shape.width": ("max_input_side", Limits.INPUT_SIDE),
    "classes": ("max_classes", Limits.CLASSES),
}


class Faults:
    """Collects the faults of a request; the metadata are those of the one that stands for all."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: list[tuple[FieldViolation, dict[str, str]]] = []

    def add(
        self, path: str, text: str, reason: Reason = Reason.INVALID_FIELD, **metadata: str
    ) -> None:
        """Add a fault."""
        self._found.append((FieldViolation(path, text, reason), metadata))

    def merge(self, error: RequestError) -> None:
        """Add the faults below `spec` that the domain's own checks found and nobody named yet."""
        named = {violation.path for violation, _ in self._found}
        for violation in error.violations:
            path = f"spec.{violation.path}"
            # A wrong side is named once, as part of the whole shape.
            if path not in named and not path.startswith("spec.architecture.input_shape."):
                fault = FieldViolation(path, violation.description, violation.reason)
                self._found.append((fault, dict(error.metadata)))

    def raise_if_any(self) -> None:
        """Raise a `RequestError` with all of them, those that a better request mends first."""
        if self._found:
            ordered = sorted(self._found, key=lambda item: item[0].reason is Reason.NO_EMBEDDING)
            raise RequestError(tuple(violation for violation, _ in ordered), ordered[0][1])

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._found)


def job_id(name: str) -> str:
    """Return the id in a job's name.

    Raises:
        JobNotFoundError: no job has a name like this.
    """
    prefix, _, identifier = name.partition("/")
    if prefix != "jobs" or not _ID.fullmatch(identifier):
        raise JobNotFoundError(name.removeprefix("jobs/")[:100])
    return identifier


def artifact_id(name: str) -> str:
    """Return the id in an artifact's name.

    Raises:
        ArtifactNotFoundError: no artifact has a name like this.
    """
    prefix, _, identifier = name.partition("/")
    if prefix != "artifacts" or not _ID.fullmatch(identifier):
        raise ArtifactNotFoundError(name.removeprefix("artifacts/")[:100])
    return identifier


@dataclass(frozen=True)
class RequestParser:
    """Checks requests against what this server offers; needs no weights and no images."""

    config: ServerConfig
    catalog: Catalog

    def submission(
        self,
        message: service_pb.CreateJobRequest | service_pb.CompressRequest,
        upload: ArtifactRecord | None = None,
    ) -> Submission:
        """Return the job that a request asks for; `upload` is the model that it names.

        Raises:
            RequestError: with every fault that was found.
        """
        faults = Faults()
        if message.request_id and not _is_uuid4(message.request_id):
            faults.add("request_id", "must be a UUID, version 4")
        policy = _policy(message.on_disconnect)
        if policy is None:
            faults.add("on_disconnect", f"there is no policy {message.on_disconnect}")
        grace = 60.0
        if message.HasField("abandon_grace"):
            grace = seconds(message.abandon_grace)
            _check_range(faults, "abandon_grace", grace, 0.0, _DAY_SECONDS)
        spec, offered = self._spec(message.spec, upload, faults)
        cache, weights = self.config.result_cache, upload.sha256 if upload else ""
        return Submission(
            spec,
            message.request_id.lower(),
            policy or OnDisconnect.DETACH,
            grace,
            result_key=result_key(spec.request, offered, self.catalog, weights) if cache else "",
        )

    def spec(
        self, message: pb.JobSpec, upload: ArtifactRecord | None = None
    ) -> tuple[JobSpec, OfferedEmbedding]:
        """Return what a specification asks for and the embedding that serves it.

        `upload` is the model that it names.

        Raises:
            RequestError: with every fault that was found.
        """
        return self._spec(message, upload, Faults())

    def _spec(
        self, message: pb.JobSpec, upload: ArtifactRecord | None, faults: Faults
    ) -> tuple[JobSpec, OfferedEmbedding]:
        effort = _effort(faults, message.effort)
        method = _method(faults, message.method)
        self._check_dataset(faults, message.dataset)
        known = message.dataset in self.catalog.datasets
        offers = self.catalog.embeddings_for(message.dataset, method) if known else []
        if known and not offers:
            text = f"there is no {method} embedding for {message.dataset}"
            faults.add(
                "spec.dataset", text, Reason.NO_EMBEDDING, dataset=message.dataset, method=method
            )
        shape = self.catalog.shape_of(message.dataset) if known else None
        architecture = _model(faults, message, upload, shape)
        budget = _budget(faults, message)
        table = _latency_table(faults, message)
        spec_limits = self._limits(faults, message)
        _check_labels(faults, message)
        request = None
        offered = None if architecture is None else suitable(offers, architecture)
        if architecture is not None and offered is not None:
            request = Request(
                architecture,
                message.dataset,
                budget,
                effort,
                method,
                message.seed,
                table,
                pareto_models=max(1, message.pareto_models),
                int8=message.int8,
                training_seeds=max(1, message.training_seeds),
            )
            try:
                check_request(request, offered.manifest)
            except RequestError as error:
                faults.merge(error)
        faults.raise_if_any()
        assert request is not None
        assert offered is not None
        spec = JobSpec(
            request,
            embedding=offered.manifest.name,
            network=message.network,
            artifact=upload.id if upload else "",
            labels=dict(message.labels),
            priority=message.priority,
            max_run_time_seconds=spec_limits[0],
            max_queue_time_seconds=spec_limits[1],
        )
        return spec, offered

    def _check_dataset(self, faults: Faults, name: str) -> None:
        known = ", ".join(self.catalog.datasets)
        if not name:
            faults.add("spec.dataset", "is required", dataset="", known=known)
        elif name not in self.catalog.datasets:
            text = f"there is no data set {name[:100]!r}; known are {known}"
            faults.add("spec.dataset", text, Reason.UNKNOWN_DATASET, dataset=name, known=known)

    def _limits(self, faults: Faults, message: pb.JobSpec) -> tuple[float, float | None]:
        _check_range(faults, "spec.priority", message.priority, -100, 100)
        _check_range(faults, "spec.pareto_models", message.pareto_models, 0, MAX_MODELS)
        _check_range(faults, "spec.training_seeds", message.training_seeds, 0, MAX_SEEDS)
        longest = self.config.max_run_time_seconds
        run, wait = longest, None
        if message.HasField("max_run_time"):
            run = _positive(faults, "spec.max_run_time", message.max_run_time, 1.0, longest)
        if message.HasField("max_queue_time"):
            wait = _positive(faults, "spec.max_queue_time", message.max_queue_time, 0.0, None)
        return run, wait


def _model(
    faults: Faults,
    message: pb.JobSpec,
    upload: ArtifactRecord | None,
    shape: tuple[tuple[int, int, int], int] | None,
) -> Architecture | None:
    if upload is not None:
        return _uploaded(faults, upload, shape)
    match message.WhichOneof("model"):
        case "architecture":
            return _architecture(faults, message.architecture, shape)
        case "network":
            return _network(faults, message.network, shape)
    faults.add("spec.architecture", "one of architecture, network, artifact is required")
    return None


def _uploaded(
    faults: Faults, upload: ArtifactRecord, shape: tuple[tuple[int, int, int], int] | None
) -> Architecture | None:
    if upload.job:
        faults.add("spec.artifact", "is the result of a job; upload it to compress it again")
        return None
    architecture = upload.architecture
    if shape is not None and shape != (architecture.input_shape, architecture.classes):
        text = (
            f"takes {list(architecture.input_shape)} and gives {architecture.classes} classes, "
            f"the data set has {list(shape[0])} and {shape[1]}"
        )
        facts = {
            "expected": str(shape),
            "actual": str((architecture.input_shape, architecture.classes)),
        }
        faults.add("spec.artifact", text, Reason.SHAPE_MISMATCH, **facts)
    return architecture


def _architecture(
    faults: Faults,
    message: arch_pb.Architecture,
    shape: tuple[tuple[int, int, int], int] | None,
) -> Architecture | None:
    if shape is not None:
        _check_shape(faults, message, shape)
    size = message.ByteSize()
    for name, actual, maximum in (
        ("max_layers", len(message.layers), Limits.LAYERS),
        ("max_inline_bytes", size, MAX_INLINE_BYTES),
    ):
        if actual > maximum:
            path = "spec.architecture" + (".layers" if name == "max_layers" else "")
            _limit(faults, path, name, maximum, actual)
            return None
    unknown = [i for i, layer in enumerate(message.layers) if layer.kind not in _KINDS]
    for index in unknown:
        kind = message.layers[index].kind
        text = "is required" if kind == 0 else f"there is no kind {kind}"
        path = f"spec.architecture.layers[{index}].kind"
        faults.add(path, text, Reason.INVALID_ARCHITECTURE, layer=str(index), kind=str(kind))
    if unknown:
        return None
    try:
        return architecture_from_proto(message)
    except ArchitectureError as error:
        for violation in error.violations:
            _add_violation(faults, message, violation)
        return None


def _add_violation(faults: Faults, message: arch_pb.Architecture, violation: Violation) -> None:
    path = f"spec.architecture.{violation.path}"
    if violation.layer is None:
        limits, holder = _HEADER_LIMITS, message
        value = _header_value(holder, violation.field)
    else:
        limits = _LAYER_LIMITS
        value = getattr(message.layers[violation.layer], violation.field, 0)
    name, maximum = limits.get(violation.field, ("", 0))
    if name and value > maximum:
        _limit(faults, path, name, maximum, value)
        return
    metadata = {}
    if violation.layer is not None and violation.kind is not None:
        metadata = {"layer": str(violation.layer), "kind": violation.kind.name}
    faults.add(path, violation.reason, Reason.INVALID_ARCHITECTURE, **metadata)


def _header_value(message: arch_pb.Architecture, field: str) -> int:
    if field == "classes":
        return message.classes
    name = field.removeprefix("input_shape.")
    return int(getattr(message.input_shape, name, 0))


def _limit(faults: Faults, path: str, name: str, maximum: int, actual: int) -> None:
    text = f"is {actual}, the limit {name} is {maximum}"
    faults.add(
        path, text, Reason.LIMIT_EXCEEDED, limit=name, maximum=str(maximum), actual=str(actual)
    )


def _check_shape(
    faults: Faults, message: arch_pb.Architecture, shape: tuple[tuple[int, int, int], int]
) -> None:
    sides = (
        message.input_shape.channels,
        message.input_shape.height,
        message.input_shape.width,
    )
    for path, actual, expected in (
        ("input_shape", list(sides), list(shape[0])),
        ("classes", message.classes, shape[1]),
    ):
        if actual != expected:
            faults.add(
                f"spec.architecture.{path}",
                f"is {actual}, the data set has {expected}",
                Reason.SHAPE_MISMATCH,
                expected=str(expected),
                actual=str(actual),
            )


def _network(
    faults: Faults, name: str, shape: tuple[tuple[int, int, int], int] | None
) -> Architecture | None:
    if name not in NAMED:
        known = ", ".join(NAMED)
        text = f"there is no network {name[:100]!r}; known are {known}"
        faults.add("spec.network", text, Reason.UNKNOWN_NETWORK, network=name, known=known)
        return None
    if shape is None:
        return None
    try:
        return named(name, *shape)
    except ArchitectureError as error:
        text = f"{name} does not fit the data set: {error.violations[0]}"
        faults.add("spec.network", text, Reason.INVALID_ARCHITECTURE)
        return None


def _budget(faults: Faults, message: pb.JobSpec) -> Budget:
    budget = budget_from_proto(message.budget)
    for violation in budget_violations(budget):
        path = f"spec.{violation.path}"
        faults.add(path, violation.description, violation.reason, field=path)
    return budget


def _latency_table(faults: Faults, message: pb.JobSpec) -> LatencyTable | None:
    """Return the table, or None where there is none or one whose entries are at fault already."""
    if not message.HasField("latency_table"):
        return None
    table = message.latency_table
    known = {i: row for i, row in enumerate(table.layers) if row.kind in _KINDS}
    for index, entry in enumerate(table.layers):
        if index not in known:
            text = "is required" if entry.kind == 0 else f"there is no kind {entry.kind}"
            faults.add(f"spec.latency_table.layers[{index}].kind", text)
    rows = {index: layer_latency_from_proto(entry) for index, entry in known.items()}
    violations = table_violations(table.fixed_seconds, rows)
    for violation in violations:
        faults.add(f"spec.{violation.path}", violation.description, violation.reason)
    if violations or len(known) < len(table.layers):
        return None
    return LatencyTable(tuple(rows.values()), table.fixed_seconds)


def _check_labels(faults: Faults, message: pb.JobSpec) -> None:
    if len(message.labels) > 32:
        faults.add("spec.labels", f"there are {len(message.labels)}, at most 32 are allowed")
        return
    for key, text in message.labels.items():
        if not _LABEL_KEY.fullmatch(key):
            faults.add("spec.labels", f"key {key[:63]!r} is not 1 to 63 of [a-z0-9._/-]")
        if len(text) > 128:
            faults.add("spec.labels", f"the value of {key[:63]!r} has more than 128 characters")
        if "\0" in text:
            faults.add("spec.labels", f"the value of {key[:63]!r} has a character 0")


def _effort(faults: Faults, value: int) -> Effort:
    if value not in pb.Effort.values():
        faults.add("spec.effort", f"there is no effort {value}")
    name = pb.Effort.Name(value) if value in pb.Effort.values() else ""  # type: ignore[arg-type]
    return Effort.__members__.get(name.removeprefix("EFFORT_"), Effort.DRAFT)


def _method(faults: Faults, value: int) -> Method:
    if value not in pb.Method.values():
        faults.add("spec.method", f"there is no method {value}")
    name = pb.Method.Name(value) if value in pb.Method.values() else ""  # type: ignore[arg-type]
    return Method.__members__.get(name.removeprefix("METHOD_"), Method.DEFAULT)


def _policy(value: int) -> OnDisconnect | None:
    match value:
        case service_pb.DISCONNECT_POLICY_UNSPECIFIED | service_pb.DISCONNECT_POLICY_DETACH:
            return OnDisconnect.DETACH
        case service_pb.DISCONNECT_POLICY_CANCEL_IF_ABANDONED:
            return OnDisconnect.CANCEL_IF_ABANDONED
    return None


def _positive(
    faults: Faults, path: str, message: Duration, least: float, most: float | None
) -> float:
    value = seconds(message)
    _check_range(faults, path, value, least, most)
    return value


def _check_range(faults: Faults, path: str, value: float, least: float, most: float | None) -> None:
    if value < least or (most is not None and value > most):
        upper = "" if most is None else f" to {most:g}"
        faults.add(path, f"is {value:g}, must be {least:g}{upper}")


def _is_uuid4(text: str) -> bool:
    try:
        return _ID.fullmatch(text.lower()) is not None and uuid.UUID(text).version == 4
    except ValueError:
        return False


_KINDS = frozenset(int(kind) for kind in LayerKind)
