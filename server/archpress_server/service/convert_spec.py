"""What a job was asked for, between messages and domain."""

from __future__ import annotations

from archpress_proto.v1 import architecture_pb2 as arch_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.types import Budget
from archpress_server.jobs.model import JobSpec
from archpress_server.service.convert_network import architecture_to_proto
from archpress_server.service.times import duration, seconds
from archpress_trainer.space.vocab import LayerKind


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
