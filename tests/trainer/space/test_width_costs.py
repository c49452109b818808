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
from archpress_trainer.space.sampling import draw
from archpress_trainer.space.vocab import Limits
from archpress_trainer.space.width_costs import WidthCosts
from archpress_trainer.space.widths import free_layers, with_widths
from tests.trainer.nets import SPACE


@given(seed=st.integers(0, 10_000), data=st.data())
def test_equal_the_count_of_the_network_itself(seed: int, data: st.DataObject) -> None:
    net = next(draw(PracticalSampler(SPACE), Random(seed))).architecture
    places = free_layers(net)
    widths = data.draw(st.lists(st.integers(1, 200), min_size=len(places), max_size=len(places)))
    costs = count(with_widths(net, places, widths))
    assert WidthCosts(net)(widths) == (costs.params, costs.macs)


def test_groups_count_and_bind() -> None:
    net = Architecture((4, 8, 8), 3, (conv(8, 3, groups=4), conv(8, 3), linear(3)))
    costs_at = WidthCosts(net)
    wide = count(with_widths(net, free_layers(net), (12, 24)))
    assert costs_at((12, 24)) == (wide.params, wide.macs)
    assert costs_at((6, 8)) is None
    with pytest.raises(ArchitectureError):
        with_widths(net, free_layers(net), (6, 8))


def test_widths_that_cannot_be_have_no_costs() -> None:
    net = named("conv-7", (1, 28, 28), 10)
    widths = [8] * len(free_layers(net))
    costs_at = WidthCosts(net)
    assert costs_at(widths) is not None
    assert costs_at(widths[1:]) is None
    assert costs_at([0, *widths[1:]]) is None
    assert costs_at([Limits.CHANNELS + 1, *widths[1:]]) is None


def test_only_chains_are_counted() -> None:
    with pytest.raises(ValueError, match="chains only"):
        WidthCosts(named("resnet-20", (3, 32, 32), 10))
