"""Fitting widths: never over the budget, near it where that can be, multiples of eight."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_trainer.space.costs import Costs, count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import named
from archpress_trainer.space.practical_sampler import PracticalSampler
from archpress_trainer.space.residual_sampler import ResidualSampler
from archpress_trainer.space.sampling import Sampler, draw
from archpress_trainer.space.width_groups import WidthGroups
from archpress_trainer.space.widths import SizeBudget, fit_widths
from tests.trainer.nets import RESIDUAL_SPACE, SPACE


def widths_of(architecture: Architecture) -> list[int]:
    return WidthGroups(architecture).widths


def used(costs: Costs, budget: SizeBudget) -> float:
    """Return the larger share of a limit that is used."""
    shares = [
        value / limit
        for value, limit in ((costs.params, budget.max_params), (costs.macs, budget.max_macs))
        if limit is not None
    ]
    return max(shares)


@pytest.mark.parametrize("sampler", [PracticalSampler(SPACE), ResidualSampler(RESIDUAL_SPACE)])
@given(
    seed=st.integers(0, 10_000),
    max_params=st.one_of(st.none(), st.integers(100, 400_000)),
    max_macs=st.one_of(st.none(), st.integers(10_000, 20_000_000)),
)
@settings(max_examples=40)
def test_never_over_the_budget_and_no_layer_can_grow(
    sampler: Sampler, seed: int, max_params: int | None, max_macs: int | None
) -> None:
    net = next(draw(sampler, Random(seed))).architecture
    budget = SizeBudget(max_params, max_macs)
    fitted = fit_widths(net, budget)
    groups = WidthGroups(net)
    narrowest = count(groups.with_widths([8] * len(groups.places)))
    if max_params is None and max_macs is None:
        assert fitted == net
        return
    if fitted is None:
        assert not budget.holds(narrowest)
        return
    assert budget.holds(count(fitted))
    widths = widths_of(fitted)
    assert all(width % 8 == 0 and width >= 8 for width in widths)
    for at, (width, original) in enumerate(zip(widths, widths_of(net), strict=True)):
        assert width <= max(8, 4 * original)
        if width + 8 <= 4 * original:
            wider = [*widths]
            wider[at] += 8
            assert not budget.holds(count(groups.with_widths(wider)))


@pytest.mark.parametrize("max_params", [30_000, 60_000, 100_000, 300_000, 700_000, 2_000_000])
def test_a_budget_of_parameters_is_used(max_params: int) -> None:
    fitted = fit_widths(named("conv-7", (1, 28, 28), 10), SizeBudget(max_params=max_params))
    assert fitted is not None
    assert 0.8 * max_params <= count(fitted).params <= max_params


@pytest.mark.parametrize("max_macs", [5_000_000, 20_000_000, 200_000_000])
def test_a_budget_of_macs_is_used(max_macs: int) -> None:
    fitted = fit_widths(named("vgg-16-bn", (3, 32, 32), 10), SizeBudget(max_macs=max_macs))
    assert fitted is not None
    assert 0.8 * max_macs <= count(fitted).macs <= max_macs


def test_sampled_nets_use_what_they_can() -> None:
    budget = SizeBudget(max_params=50_000, max_macs=4_000_000)
    shares = []
    for seed in range(30):
        net = next(draw(PracticalSampler(SPACE), Random(seed))).architecture
        fitted = fit_widths(net, budget)
        grown = WidthGroups(net).with_widths([4 * width for width in widths_of(net)])
        if fitted is not None and not budget.holds(count(grown)):
            shares.append(used(count(fitted), budget))
    assert len(shares) > 10
    assert min(shares) >= 0.8


def test_growth_stops_at_the_scale() -> None:
    net = named("conv-7", (1, 28, 28), 10)
    fitted = fit_widths(net, SizeBudget(max_params=10**9), max_scale=2.0)
    assert fitted is not None
    assert widths_of(fitted) == [2 * width for width in widths_of(net)]


def test_an_impossible_budget_gives_none() -> None:
    assert fit_widths(named("conv-7", (1, 28, 28), 10), SizeBudget(max_params=1_000)) is None


def test_other_multiples() -> None:
    net = named("conv-7", (1, 28, 28), 10)
    fitted = fit_widths(net, SizeBudget(max_params=50_000), multiple=4, smallest=4)
    assert fitted is not None
    assert all(width % 4 == 0 for width in widths_of(fitted))
    assert any(width % 8 for width in widths_of(fitted))


def test_a_residual_net_uses_its_budget() -> None:
    net = named("resnet-20", (3, 32, 32), 10)
    fitted = fit_widths(net, SizeBudget(max_params=60_000))
    assert fitted is not None
    assert 0.8 * 60_000 <= count(fitted).params <= 60_000


def test_a_budget_holds_up_to_its_limit() -> None:
    costs = Costs(params=10, macs=20, deployed_params=10, peak_activation_bytes=4)
    assert SizeBudget().holds(costs)
    assert SizeBudget(10, 20).holds(costs)
    assert not SizeBudget(9, 20).holds(costs)
    assert not SizeBudget(10, 19).holds(costs)
