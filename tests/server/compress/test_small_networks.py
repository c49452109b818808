"""No network of a space costs less than the smallest that limits are compared with."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.layer_work import network_seconds
from archpress_server.compress.small_networks import (
    fastest_networks,
    small_networks,
    smallest_networks,
)
from archpress_trainer.space.architecture_space import (
    ArchitectureSpace,
    paper_space,
    residual_space,
)
from archpress_trainer.space.costs import Costs, count
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import average_pool, conv, global_average_pool, linear, max_pool
from archpress_trainer.space.practical_sampler import Window
from archpress_trainer.space.prior import prior
from archpress_trainer.space.sampling import draw
from archpress_trainer.space.vocab import LayerKind

SHAPES = [
    (3, 32, 32),
    (1, 28, 28),
    (3, 64, 64),
    (1, 20, 20),
    (3, 96, 96),
    (1, 12, 48),
    (3, 224, 224),
    (2, 1, 1),
    (1, 4, 512),
]


def least(space: ArchitectureSpace) -> tuple[int, int]:
    costs = [count(network) for network in smallest_networks(space)]
    return min(c.params for c in costs), min(c.macs for c in costs)


@st.composite
def spaces(draw_from: st.DrawFn) -> ArchitectureSpace:
    side = st.integers(1, 100)
    shape = draw_from(st.tuples(st.integers(1, 12), side, side))
    make = draw_from(st.sampled_from([ArchitectureSpace, residual_space, paper_space]))
    return make(shape, draw_from(st.integers(2, 100)))


@st.composite
def tiny_networks(draw_from: st.DrawFn, space: ArchitectureSpace) -> Architecture:
    """Pools that narrow the image, a narrow convolution and a classifier."""
    layers: list[Layer] = []
    for _ in range(draw_from(st.integers(0, 8))):
        pool = draw_from(st.sampled_from([max_pool, average_pool]))
        kernel = draw_from(st.sampled_from(space.kernels))
        layers.append(pool(kernel, stride=draw_from(st.sampled_from(space.strides[1:]))))
    channels, width = space.input_shape[0], min(space.channels)
    stride = draw_from(st.sampled_from(space.strides))
    depthwise = channels >= width and draw_from(st.booleans())
    layers.append(
        conv(channels, 1, stride=stride, groups=channels)
        if depthwise
        else conv(width, 1, stride=stride)
    )
    if draw_from(st.booleans()):
        layers.append(global_average_pool())
    try:
        network = Architecture(space.input_shape, space.classes, (*layers, linear(space.classes)))
    except ArchitectureError:
        assume(False)
    assume(space.contains(network))
    return network


@settings(max_examples=200)
@given(st.data())
def test_no_tiny_network_costs_less(data: st.DataObject) -> None:
    space = data.draw(spaces())
    assert_holds(space, count(data.draw(tiny_networks(space))))


@settings(max_examples=25)
@given(spaces(), st.integers(0, 10**6))
def test_no_sampled_network_costs_less(space: ArchitectureSpace, seed: int) -> None:
    assert_holds(space, next(draw(prior(space, Window(50, 5_000)), Random(seed))).costs)


def assert_holds(space: ArchitectureSpace, costs: Costs) -> None:
    params, macs = least(space)
    assert params <= costs.params
    assert macs <= costs.macs


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("make", [ArchitectureSpace, residual_space])
def test_of_any_image_one_pixel_is_left(
    make: type[ArchitectureSpace], shape: tuple[int, int, int]
) -> None:
    params, macs = least(make(shape, 10))
    assert params == 8 * shape[0] + 8 + 8 * 10 + 10
    assert macs == 8 * shape[0] + 8 * 10


@pytest.mark.parametrize("kernel", ArchitectureSpace.kernels)
def test_the_fastest_by_a_table_may_have_any_kernel(kernel: int) -> None:
    rows = [LayerLatency(kind, None, 1e-4) for kind in LayerKind if kind is not LayerKind.DROPOUT]
    slow = [
        LayerLatency(LayerKind.CONVOLUTION, other, 1e-2)
        for other in ArchitectureSpace.kernels
        if other != kernel
    ]
    table = LatencyTable((*rows, *slow))
    fastest = fastest_networks(ArchitectureSpace((1, 28, 28), 10), table)[0]
    assert network_seconds(table, fastest) == 2e-4


@settings(max_examples=25)
@given(spaces())
def test_they_are_distinct_and_in_the_space(space: ArchitectureSpace) -> None:
    found = small_networks(space)
    assert len(set(found)) == len(found)
    assert all(space.contains(network) for network in found)
    assert set(smallest_networks(space)) <= set(found)
