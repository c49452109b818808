"""What a job is asked for, between the messages of the API and the client's own types."""

from __future__ import annotations

from archpress_client._convert_network import layer_kind, network_from_proto, network_to_proto
from archpress_client._durations import duration_to_proto
from archpress_client._latency_table import LatencyTable, LayerLatency
from archpress_client._message_fields import enum_field, optional, seconds
from archpress_client._network import Network
from archpress_client._types import Budget, Effort, JobSpec, Method
from archpress_proto.v1 import architecture_pb2, jobs_pb2


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
        budget=budget_from_proto(message.budget),
        effort=enum_field(Effort, message.effort, Effort.UNKNOWN, unset=Effort.DRAFT),
        method=enum_field(Method, message.method, Method.UNKNOWN, unset=Method.DEFAULT),
        seed=message.seed,
        labels=dict(message.labels),
        max_run_time_seconds=seconds(message, "max_run_time"),
        max_queue_time_seconds=seconds(message, "max_queue_time"),
        priority=message.priority,
        latency_table=_latency_table(table) if message.HasField("latency_table") else None,
        pareto_models=max(1, message.pareto_models),
        int8=message.int8,
        training_seeds=max(1, message.training_seeds),
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


def budget_from_proto(message: jobs_pb2.Budget) -> Budget:
    """Return the budget in a message."""
    return Budget(
        max_params=message.max_params if message.HasField("max_params") else None,
        max_params_ratio=optional(message, "max_params_ratio"),
        max_macs=message.max_macs if message.HasField("max_macs") else None,
        max_macs_ratio=optional(message, "max_macs_ratio"),
        max_latency_seconds=seconds(message, "max_latency"),
        min_accuracy=optional(message, "min_accuracy"),
        max_accuracy_drop=optional(message, "max_accuracy_drop"),
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
