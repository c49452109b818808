"""Plans keep to a latency, by a table exactly, on this machine as measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_server.compress import latency
from archpress_server.compress.checks import check_request
from archpress_server.compress.decode import SearchSettings
from archpress_server.compress.descent import DescentSettings
from archpress_server.compress.heir import find_heir
from archpress_server.compress.latency_budget import (
    LatencyLimit,
    infeasible_together,
    latency_limit,
)
from archpress_server.compress.latency_model import FittedLatency
from archpress_server.compress.latency_screen import propose_within
from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.layer_work import network_seconds
from archpress_server.compress.planning import plan
from archpress_server.compress.search import PlanSettings, Search
from archpress_server.compress.small_networks import fastest_networks
from archpress_server.compress.types import Budget, Reason, Request, RequestError
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.space.architecture_space import PRACTICAL_KINDS
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import conv, global_average_pool, linear, relu
from archpress_trainer.space.vocab import LayerKind
from archpress_trainer.space.widths import SizeBudget
from tests.server.compress.predicted import predicted

NET = Architecture(
    (1, 12, 12), 4, (conv(32, 3), relu(), conv(64, 3), relu(), global_average_pool(), linear(4))
)
QUICK = PlanSettings(
    starts=6,
    known=8,
    descent=DescentSettings(steps=3),
    search=SearchSettings(rounds=1, parents=3, children=3),
)
ROWS = tuple(
    LayerLatency(kind, None, 1e-6, 1e-10 if kind is LayerKind.CONVOLUTION else 0.0, 1e-9)
    for kind in PRACTICAL_KINDS
    if kind is not LayerKind.DROPOUT
)
TABLE = LatencyTable(ROWS, 2e-6)


@pytest.fixture(scope="module")
def embedding(tiny_embedding: Path) -> Embedding:
    return load(tiny_embedding)


@pytest.fixture(scope="module")
def manifest(embedding: Embedding) -> Manifest:
    return embedding.manifest


def asking(seconds: float, table: LatencyTable | None = TABLE, **budget: int) -> Request:
    limits = Budget(max_latency_seconds=seconds, **budget)
    return Request(NET, "tiny", limits, latency_table=table)


@settings(max_examples=15)
@given(
    share=st.floats(0.0, 1.0),
    max_params=st.none() | st.integers(200, 40_000),
    seed=st.integers(0, 2**64 - 1),
)
def test_candidates_keep_to_any_feasible_latency_of_a_table(
    embedding: Embedding, share: float, max_params: int | None, seed: int
) -> None:
    fastest = fastest_networks(embedding.manifest.space, TABLE)[0]
    least = network_seconds(TABLE, fastest)
    most = least * 100**share
    if max_params is not None:
        max_params = max(max_params, count(fastest).params)
    request = Request(
        NET, "tiny", Budget(max_params, max_latency_seconds=most), seed=seed, latency_table=TABLE
    )
    found = plan(request, embedding, 4, settings=QUICK)
    assert found.candidates
    for candidate in found.candidates:
        assert network_seconds(TABLE, candidate.architecture) <= most
        assert max_params is None or candidate.costs.params <= max_params


def test_limits_that_no_network_meets_together_are_refused(embedding: Embedding) -> None:
    """The fastest network has more parameters than are allowed, smaller ones are slower."""
    networks = fastest_networks(embedding.manifest.space, TABLE)
    fastest = count(networks[0]).params
    with pytest.raises(RequestError) as error:
        plan(asking(4.2e-6, max_params=200), embedding, 4, settings=QUICK)
    assert error.value.reason is Reason.BUDGET_INFEASIBLE
    assert error.value.violations[0].path == "budget"
    assert int(error.value.metadata["max_params"]) == fastest > 200
    nearest = float(error.value.metadata["max_latency"].removesuffix("s"))
    assert plan(asking(nearest, max_params=200), embedding, 4, settings=QUICK).candidates
    assert plan(asking(4.2e-6, max_params=fastest), embedding, 4, settings=QUICK).candidates


def test_a_looser_latency_gives_better_networks(embedding: Embedding) -> None:
    bounds = [
        predicted(plan(asking(most), embedding, 1, settings=QUICK).candidates[0]).lower
        for most in (2e-5, 2e-4)
    ]
    assert bounds[0] < bounds[1]


def test_a_latency_below_the_fastest_network_names_the_nearest(manifest: Manifest) -> None:
    with pytest.raises(RequestError) as error:
        check_request(asking(3e-6), manifest)
    assert error.value.reason is Reason.BUDGET_INFEASIBLE
    assert error.value.violations[0].path == "budget.max_latency"
    nearest = error.value.metadata["max_latency"]
    check_request(asking(float(nearest.removesuffix("s"))), manifest)


def test_a_latency_that_a_networks_layers_add_up_to_is_kept(manifest: Manifest) -> None:
    """The fastest have two layers: a convolution and the classifier."""
    kinds = [kind for kind in PRACTICAL_KINDS if kind is not LayerKind.DROPOUT]
    table = LatencyTable(tuple(LayerLatency(kind, None, 1e-4) for kind in kinds), 1e-4)
    check_request(asking(0.0003, table), manifest)
    with pytest.raises(RequestError) as error:
        check_request(asking(0.000299999, table), manifest)
    assert error.value.metadata == {"max_latency": "0.000300000s"}


def test_infeasible_sizes_and_latencies_come_together(manifest: Manifest) -> None:
    with pytest.raises(RequestError) as error:
        check_request(asking(3e-6, max_params=3), manifest)
    assert set(error.value.metadata) == {"max_params", "max_latency"}


def test_missing_kinds_and_kernels_are_named(manifest: Manifest) -> None:
    rows = [row for row in ROWS if row.kind not in (LayerKind.SILU, LayerKind.CONVOLUTION)]
    table = LatencyTable((*rows, LayerLatency(LayerKind.CONVOLUTION, 3)))
    with pytest.raises(RequestError) as error:
        check_request(asking(1.0, table), manifest)
    assert {violation.path for violation in error.value.violations} == {"latency_table.layers"}
    texts = [violation.description for violation in error.value.violations]
    assert texts == ["has no row for CONVOLUTION with kernel 1, 2, 5, 7", "has no row for SILU"]


def test_a_table_needs_a_latency(manifest: Manifest) -> None:
    with pytest.raises(RequestError, match="not set"):
        check_request(Request(NET, "tiny", latency_table=TABLE), manifest)


MACHINE = FittedLatency(1e-5, 8, {}, 0.0)


class _Measured:
    """Stands for the clock: a network takes `factor` times what the table says."""

    factor = 1.0

    def __init__(self, network: Architecture) -> None:
        self._seconds = network_seconds(TABLE, network)

    @classmethod
    def untrained(cls, network: Architecture) -> _Measured:
        return cls(network)

    def median_seconds(self) -> float:
        return self._seconds * self.factor


def proposals(
    embedding: Embedding, monkeypatch: pytest.MonkeyPatch, factor: float, most: float
) -> tuple[list[float], list[str]]:
    """Return measured seconds of what is proposed where the model is wrong by a factor."""
    monkeypatch.setattr(latency, "Timer", _Measured)
    monkeypatch.setattr(_Measured, "factor", factor)
    limit = LatencyLimit(most, TABLE, exact=False)
    search = Search(asking(most, None), embedding, QUICK, latency=limit)
    search.run()
    found = propose_within(search, 4, limit, embedding.manifest.space)
    return [factor * limit.seconds(scored.architecture) for scored in found], search.warnings


def test_what_measures_over_the_latency_is_not_proposed(
    embedding: Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, warnings = proposals(embedding, monkeypatch, 1.0, 1e-4)
    assert len(seconds) == 4
    assert not any("left out" in warning for warning in warnings)
    seconds, warnings = proposals(embedding, monkeypatch, 1.6, 1e-4)
    assert seconds
    assert max(seconds) <= 1e-4
    assert any("measured over max_latency" in warning for warning in warnings)


def test_where_only_the_smallest_are_fast_enough_the_plan_says_so(
    embedding: Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, warnings = proposals(embedding, monkeypatch, 8.0, 1e-4)
    assert seconds
    assert max(seconds) <= 1e-4
    assert any("only the smallest" in warning for warning in warnings)
    seconds, warnings = proposals(embedding, monkeypatch, 1e3, 1e-4)
    assert seconds == []
    assert not any("only the smallest" in warning for warning in warnings)


@pytest.mark.parametrize("max_params", [None, 200])
def test_what_would_be_feasible_is_measured_where_the_model_is_not_final(
    embedding: Embedding, monkeypatch: pytest.MonkeyPatch, max_params: int | None
) -> None:
    """The model says that some networks are fast enough, by the clock none is."""
    monkeypatch.setattr(latency, "Timer", _Measured)
    monkeypatch.setattr(_Measured, "factor", 10.0)
    limit, budget = LatencyLimit(1e-5, TABLE, exact=False), SizeBudget(max_params)
    error = infeasible_together(limit, budget, embedding.manifest.space)
    [violation] = error.violations
    assert set(error.metadata) == {"max_latency"}
    nearest = float(error.metadata["max_latency"].removesuffix("s"))
    fast = [
        10 * limit.seconds(network)
        for network in fastest_networks(embedding.manifest.space, TABLE)
        if budget.holds(count(network))
    ]
    assert nearest > min(fast) > 1e-5
    together = max_params is not None
    assert violation.path == ("budget" if together else "budget.max_latency")
    assert ("together" in violation.description) is together


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.6, 3.0])
def test_the_narrowed_input_is_measured_too(
    embedding: Embedding, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    monkeypatch.setattr(latency, "Timer", _Measured)
    monkeypatch.setattr(_Measured, "factor", factor)
    most = 0.5 * network_seconds(TABLE, NET)
    limit = LatencyLimit(most, TABLE, exact=False)
    found = find_heir(asking(most, None), embedding, SizeBudget(), limit, 1)
    assert found is not None
    assert factor * limit.seconds(found.architecture) <= most


@pytest.mark.parametrize("factor", [2.0, 5.0, 20.0])
def test_an_input_is_measured_before_it_is_said_to_keep_to_the_latency(
    embedding: Embedding, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    monkeypatch.setattr(latency, "Timer", _Measured)
    most = 1.5 * network_seconds(TABLE, NET)
    limit = LatencyLimit(most, TABLE, exact=False)
    assert find_heir(asking(most, None), embedding, SizeBudget(), limit, 1) is None
    monkeypatch.setattr(_Measured, "factor", factor)
    found = find_heir(asking(most, None), embedding, SizeBudget(), limit, 1)
    assert found is not None
    assert factor * limit.seconds(found.architecture) <= most


def test_an_input_that_the_table_does_not_know_is_not_narrowed(embedding: Embedding) -> None:
    odd = replace_kind(NET, LayerKind.RELU, LayerKind.TANH)
    request = replace(asking(5e-5), architecture=odd)
    found = plan(request, embedding, 2, settings=QUICK)
    assert found.candidates
    assert found.heir is None
    assert any("no row for TANH" in text for text in found.warnings)
    wide = Architecture((1, 12, 12), 4, (conv(32, 11), global_average_pool(), linear(4)))
    rows = tuple(row for row in ROWS if row.kind is not LayerKind.CONVOLUTION)
    known = [LayerLatency(LayerKind.CONVOLUTION, kernel, 1e-6) for kernel in (1, 2, 3, 5, 7)]
    table = LatencyTable((*rows, *known), 2e-6)
    found = plan(replace(asking(5e-5, table), architecture=wide), embedding, 2, settings=QUICK)
    assert any("CONVOLUTION with kernel 11" in text for text in found.warnings)


def replace_kind(network: Architecture, old: LayerKind, new: LayerKind) -> Architecture:
    layers = [replace(la, kind=new) if la.kind is old else la for la in network.layers]
    return Architecture(network.input_shape, network.classes, tuple(layers))


def test_a_latency_that_no_network_has_on_this_machine_is_refused(embedding: Embedding) -> None:
    space = embedding.manifest.space
    with pytest.raises(RequestError) as error:
        latency_limit(asking(1e-8, None), space, MACHINE)
    assert error.value.reason is Reason.BUDGET_INFEASIBLE
    assert float(error.value.metadata["max_latency"].removesuffix("s")) > 1e-8
    assert latency_limit(asking(1.0, None), space, MACHINE) is not None
    assert latency_limit(Request(NET, "tiny"), space, None) is None


def test_a_latency_implies_macs_for_the_descent(embedding: Embedding) -> None:
    limit = LatencyLimit(5e-5, TABLE, exact=True)
    implied = limit.implied(SizeBudget(900), embedding.exemplars)
    assert implied.max_params == 900
    assert implied.max_macs is not None
    tighter = limit.implied(SizeBudget(max_macs=10), embedding.exemplars)
    assert tighter == SizeBudget(max_macs=10)
    nowhere = replace(limit, limit_seconds=1e3)
    assert nowhere.implied(SizeBudget(), embedding.exemplars) == SizeBudget()
