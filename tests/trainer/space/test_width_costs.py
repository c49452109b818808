"""Costs at other widths: those of the network that would be built."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archpress_trainer.space.costs import count
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import conv, linear
from archpress_trainer.space.named import named
from archpress_trainer.space.practical_sampler import PracticalSampler
from archpress_trainer.space.residual_sampler import ResidualSampler
from archpress_trainer.space.sampling import Sampler, draw
from archpress_trainer.space.vocab import Limits
from archpress_trainer.space.width_costs import WidthCosts
from archpress_trainer.space.width_groups import WidthGroups
from tests.trainer.nets import RESIDUAL_SPACE, SPACE


@pytest.mark.parametrize("sampler", [PracticalSampler(SPACE), ResidualSampler(RESIDUAL_SPACE)])
@given(seed=st.integers(0, 10_000), data=st.data())
def test_equal_the_count_of_the_network_itself(
    sampler: Sampler, seed: int, data: st.DataObject
) -> None:
    net = next(draw(sampler, Random(seed))).architecture
    groups = WidthGroups(net)
    number = len(groups.places)
    widths = data.draw(st.lists(st.integers(1, 200), min_size=number, max_size=number))
    costs = count(groups.with_widths(widths))
    assert WidthCosts(groups)(widths) == (costs.params, costs.macs)


def test_groups_count_and_bind() -> None:
    net = Architecture((4, 8, 8), 3, (conv(8, 3, groups=4), conv(8, 3), linear(3)))
    groups = WidthGroups(net)
    costs_at = WidthCosts(groups)
    wide = count(groups.with_widths((12, 24)))
    assert costs_at((12, 24)) == (wide.params, wide.macs)
    assert costs_at((6, 8)) is None
    with pytest.raises(ArchitectureError):
        groups.with_widths((6, 8))


def test_widths_that_cannot_be_have_no_costs() -> None:
    groups = WidthGroups(named("conv-7", (1, 28, 28), 10))
    widths = [8] * len(groups.places)
    costs_at = WidthCosts(groups)
    assert costs_at(widths) is not None
    assert costs_at(widths[1:]) is None
    assert costs_at([0, *widths[1:]]) is None
    assert costs_at([Limits.CHANNELS + 1, *widths[1:]]) is None
