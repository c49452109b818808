"""The input network narrowed to the limits of a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from archpress_server.compress.checks import size_budget
from archpress_server.compress.decode import SearchSettings
from archpress_server.compress.descent import DescentSettings
from archpress_server.compress.heir import find_heir
from archpress_server.compress.latency_budget import LatencyLimit
from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.planning import plan
from archpress_server.compress.search import PlanSettings
from archpress_server.compress.types import Budget, Candidate, Method, Request
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.architecture_space import RESIDUAL_KINDS
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import batch_norm, conv, global_average_pool, linear, relu
from archpress_trainer.space.width_groups import WidthGroups
from tests.trainer.nets import residual_net, small_net, without_norms

NET = small_net(32)


@pytest.fixture(scope="module")
def embedding(tiny_residual_embedding: Path) -> Embedding:
    return load(tiny_residual_embedding)


def heir(
    embedding: Embedding,
    network: Architecture,
    budget: Budget,
    limit: LatencyLimit | None = None,
    method: Method = Method.DEFAULT,
) -> Candidate | None:
    sizes = size_budget(budget, count(network))
    return find_heir(Request(network, "tiny", budget, method=method), embedding, sizes, limit, 3)


@pytest.mark.parametrize("network", [NET, residual_net(24)], ids=["chain", "residual"])
@pytest.mark.parametrize("share", [0.7, 0.3])
def test_it_uses_the_budget_with_the_inputs_layers(
    embedding: Embedding, network: Architecture, share: float
) -> None:
    found = heir(embedding, network, Budget(max_params_ratio=share))
    assert found is not None
    assert found.inherits
    assert found.rank == 3
    limit = share * count(network).params
    assert 0.6 * limit <= found.costs.params <= limit
    assert found.costs == count(found.architecture)
    assert [la.kind for la in found.architecture.layers] == [la.kind for la in network.layers]
    pairs = zip(WidthGroups(found.architecture).widths, WidthGroups(network).widths, strict=True)
    assert all(narrow <= wide for narrow, wide in pairs)


@pytest.mark.parametrize("network", [NET, residual_net(24)], ids=["chain", "residual"])
def test_it_has_the_normalisations_that_an_exporter_folded(
    embedding: Embedding, network: Architecture
) -> None:
    found = heir(embedding, without_norms(network), Budget(max_params_ratio=0.5))
    assert found is not None
    assert [la.kind for la in found.architecture.layers] == [la.kind for la in network.layers]
    assert found.costs.params <= 0.5 * count(without_norms(network)).params


def test_layers_that_are_narrow_already_stay_so(embedding: Embedding) -> None:
    layers = (conv(4, 3), batch_norm(), relu(), conv(64, 3), batch_norm(), relu())
    network = Architecture((1, 12, 12), 4, (*layers, global_average_pool(), linear(4)))
    found = heir(embedding, network, Budget(max_params_ratio=0.5))
    assert found is not None
    assert found.architecture.layers[0].out_channels <= 4


def test_it_keeps_to_a_table_of_latencies(embedding: Embedding) -> None:
    table = LatencyTable(tuple(LayerLatency(kind, None, 0.0, 1e-9) for kind in RESIDUAL_KINDS))
    whole = LatencyLimit(1.0, table, exact=True).seconds(NET)
    limit = LatencyLimit(0.6 * whole, table, exact=True)
    found = heir(embedding, NET, Budget(max_latency_seconds=0.6 * whole), limit)
    assert found is not None
    assert limit.holds(found.architecture)


def test_there_is_none_where_the_input_keeps_to_the_limits(embedding: Embedding) -> None:
    assert heir(embedding, NET, Budget(max_params=count(NET).params)) is None
    assert heir(embedding, NET, Budget()) is None


def test_there_is_none_for_the_papers_method(embedding: Embedding) -> None:
    assert heir(embedding, NET, Budget(max_params=3_000), method=Method.PAPER) is None


def test_a_plan_has_it_behind_its_candidates(embedding: Embedding) -> None:
    budget = Budget(max_params=3_000)
    quick = PlanSettings(2, descent=DescentSettings(1), search=SearchSettings(rounds=0))
    found = plan(Request(NET, "tiny", budget), embedding, 2, settings=quick)
    assert len(found.candidates) == 2
    assert found.heir == heir(embedding, NET, budget)


def test_it_needs_no_prediction(embedding: Embedding) -> None:
    most = embedding.manifest.space.max_layers
    deep = Architecture(
        (1, 12, 12), 4, (*[conv(32, 3), relu()] * most, global_average_pool(), linear(4))
    )
    found = heir(embedding, deep, Budget(max_params_ratio=0.2))
    assert found is not None
    assert found.prediction is None
