"""Round trips of what a job was asked for."""

from __future__ import annotations

from hypothesis import given

from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.compress.latency_table import LatencyTable
from archpress_server.compress.types import (
    Budget,
)
from archpress_server.service.convert_spec import (
    budget_from_proto,
    budget_to_proto,
    latency_table_to_proto,
    layer_latency_from_proto,
)
from tests.server.strategies import budgets, tables


@given(budgets)
def test_budgets_survive_messages(budget: Budget) -> None:
    wire = pb.Budget.FromString(budget_to_proto(budget).SerializeToString())
    assert budget_from_proto(wire) == budget


@given(tables)
def test_latency_tables_survive_messages(table: LatencyTable) -> None:
    wire = pb.LatencyTable.FromString(latency_table_to_proto(table).SerializeToString())
    assert tuple(layer_latency_from_proto(row) for row in wire.layers) == table.layers
    assert wire.fixed_seconds == table.fixed_seconds


def test_a_zero_budget_is_set() -> None:
    assert budget_from_proto(pb.Budget(max_params=0)) == Budget(max_params=0)
