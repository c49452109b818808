"""From request messages to what they ask for, with every fault of a request at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration

from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.catalog import Catalog, OfferedEmbedding, suitable
from archpress_server.compress.checks import budget_violations, check_request
from archpress_server.compress.latency_checks import MAX_TABLE_ROWS, table_violations
from archpress_server.compress.latency_table import LatencyTable
from archpress_server.compress.types import Budget, Effort, Method, Reason, Request, RequestError
from archpress_server.config import ServerConfig
from archpress_server.jobs.model import ArtifactRecord, JobSpec, OnDisconnect, Submission
from archpress_server.result_key import result_key
from archpress_server.service.convert_network import LAYER_KINDS
from archpress_server.service.convert_spec import budget_from_proto, layer_latency_from_proto
from archpress_server.service.faults import Faults
from archpress_server.service.names import is_uuid4
from archpress_server.service.parse_model import parse_model
from archpress_server.service.times import MAX_SECONDS, seconds

MAX_CANDIDATES = 64
MAX_MODELS = 8
MAX_SEEDS = 8

_DAY_SECONDS = 86_400.0
_LABEL_KEY = re.compile(r"[a-z0-9._/-]{1,63}")


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
        if message.request_id and not is_uuid4(message.request_id):
            faults.add("request_id", "must be a UUID, version 4")
        policy = _policy(message.on_disconnect)
        if policy is None:
            faults.add("on_disconnect", f"there is no policy {message.on_disconnect}")
        grace = 60.0
        if message.HasField("abandon_grace"):
            span = message.abandon_grace
            grace = _seconds_within(faults, "abandon_grace", span, 0.0, _DAY_SECONDS)
        spec, offered = self._spec(message.spec, upload, faults)
        cache, weights = self.config.result_cache, upload.sha256 if upload else ""
        return Submission(
            spec,
            message.request_id.lower(),
            policy or OnDisconnect.DETACH,
            grace,
            result_key=result_key(spec.request, offered, self.catalog, weights) if cache else "",
            has_default_run_time=not message.spec.HasField("max_run_time"),
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
        effort_name = _name(faults, "effort", pb.Effort, message.effort)
        effort = Effort.__members__.get(effort_name, Effort.DRAFT)
        method_name = _name(faults, "method", pb.Method, message.method)
        method = Method.__members__.get(method_name, Method.DEFAULT)
        self._check_dataset(faults, message.dataset)
        known = message.dataset in self.catalog.datasets
        offers = self.catalog.embeddings_for(message.dataset, method) if known else []
        if known and not offers:
            text = f"there is no {method} embedding for {message.dataset}"
            faults.add(
                "spec.dataset", text, Reason.NO_EMBEDDING, dataset=message.dataset, method=method
            )
        shape = self.catalog.shape_of(message.dataset) if known else None
        architecture = parse_model(faults, message, upload, shape)
        budget = _budget(faults, message)
        table = _latency_table(faults, message)
        spec_limits = self._limits(faults, message)
        check_labels(faults, "spec.labels", message.labels)
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
                faults.merge(error, message.WhichOneof("model") or "architecture")
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
        faults.check_range("spec.priority", message.priority, -100, 100)
        faults.check_range("spec.pareto_models", message.pareto_models, 0, MAX_MODELS)
        faults.check_range("spec.training_seeds", message.training_seeds, 0, MAX_SEEDS)
        longest = self.config.max_run_time_seconds
        run, wait = longest, None
        if message.HasField("max_run_time"):
            run = _seconds_within(faults, "spec.max_run_time", message.max_run_time, 1.0, longest)
        if message.HasField("max_queue_time"):
            span = message.max_queue_time
            wait = _seconds_within(faults, "spec.max_queue_time", span, 0.0, MAX_SECONDS)
        return run, wait


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
    if not faults.check_count("spec.latency_table.layers", len(table.layers), MAX_TABLE_ROWS):
        return None
    known = {i: row for i, row in enumerate(table.layers) if row.kind in LAYER_KINDS}
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


def check_labels(faults: Faults, path: str, labels: Mapping[str, str]) -> None:
    """Add what is wrong with the labels of a job, or with those that are asked for."""
    if not faults.check_count(path, len(labels), 32):
        return
    for key, text in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            faults.add(path, f"key {key[:63]!r} is not 1 to 63 of [a-z0-9._/-]")
        if len(text) > 128:
            faults.add(path, f"the value of {key[:63]!r} has more than 128 characters")
        if "\0" in text:
            faults.add(path, f"the value of {key[:63]!r} has a character 0")


def _name(faults: Faults, field: str, kinds: Any, value: int) -> str:
    """Return an enum's name without its prefix; empty, and a fault, where there is none."""
    if value not in kinds.values():
        faults.add(f"spec.{field}", f"there is no {field} {value}")
        return ""
    return str(kinds.Name(value)).removeprefix(f"{field.upper()}_")


def _policy(value: int) -> OnDisconnect | None:
    match value:
        case service_pb.DISCONNECT_POLICY_UNSPECIFIED | service_pb.DISCONNECT_POLICY_DETACH:
            return OnDisconnect.DETACH
        case service_pb.DISCONNECT_POLICY_CANCEL_IF_ABANDONED:
            return OnDisconnect.CANCEL_IF_ABANDONED
    return None


def _seconds_within(
    faults: Faults, path: str, message: Duration, least: float, most: float
) -> float:
    value = seconds(message)
    faults.check_range(path, value, least, most)
    return value
