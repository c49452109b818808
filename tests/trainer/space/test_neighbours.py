"""Neighbours are other networks of the space, one change away."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_trainer.embedding.codec import Codec
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import add, conv, global_average_pool, linear
from archpress_trainer.space.neighbours import neighbour
from archpress_trainer.space.prior import prior
from archpress_trainer.space.sampling import draw
from archpress_trainer.space.vocab import ACTIVATIONS, LayerKind
from tests.trainer.nets import (
    CLASSES,
    INPUT_SHAPE,
    RESIDUAL_SPACE,
    SPACE,
    chains,
    residual_net,
    residual_nets,
    small_net,
)


@pytest.mark.parametrize("space", [SPACE, RESIDUAL_SPACE], ids=["chains", "joins"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_a_neighbour_is_another_net_of_the_space(space: ArchitectureSpace, seed: int) -> None:
    rng = Random(seed)
    net = next(draw(prior(space), rng)).architecture
    for _ in range(10):
        other = neighbour(net, space, rng)
        if other is not None:
            assert other != net
            assert other.digest != net.digest
            assert space.contains(other)
            assert abs(len(other.layers) - len(net.layers)) <= 13
            assert Codec(space).encode(other).any()


def test_most_draws_give_a_neighbour() -> None:
    rng = Random(0)
    found = [neighbour(net, SPACE, rng) for net in chains(20) for _ in range(20)]
    assert sum(other is not None for other in found) > 200


def test_most_draws_give_a_neighbour_with_joins() -> None:
    rng = Random(0)
    found = [neighbour(net, RESIDUAL_SPACE, rng) for net in residual_nets(20) for _ in range(20)]
    assert sum(other is not None for other in found) > 200


def test_the_walk_changes_skips_and_depthwise_convolutions() -> None:
    rng = Random(1)
    net = residual_net()
    others = [o for _ in range(400) if (o := neighbour(net, RESIDUAL_SPACE, rng)) is not None]
    sums = {sum(layer.kind is LayerKind.ADD for layer in o.layers) for o in others}
    assert sums >= {1, 2, 3}
    depthwise = {sum(layer.groups > 1 for layer in o.layers) for o in others}
    assert depthwise >= {0, 1, 2}
    # A block more is the whole block, with its skip; one less takes the skip along.
    assert {len(o.layers) for o in others} >= {len(net.layers) + 7, len(net.layers) - 7}


def test_no_join_reads_the_same_layer_twice() -> None:
    # A strided block with its projection, and what one step adds: a sum of its body and its sum.
    # Without the first sum and the projection the second one is left with the body alone.
    block = (conv(8, 3), conv(8, 3, stride=2), conv(8, 1, stride=2, inputs=(0,)), add(1, 2))
    net = Architecture(
        INPUT_SHAPE, CLASSES, (*block, add(1, 3), global_average_pool(), linear(CLASSES))
    )
    drawn = [neighbour(net, RESIDUAL_SPACE, Random(seed)) for seed in range(100)]
    others = [other for other in drawn if other is not None]
    assert {sum(layer.kind is LayerKind.ADD for layer in o.layers) for o in others} >= {1, 2, 3}
    for other in others:
        assert all(len(set(layer.inputs)) == len(layer.inputs) for layer in other.layers)
        assert Codec(RESIDUAL_SPACE).encode(other).any()


def test_the_walk_reaches_other_depths_widths_kernels_and_activations() -> None:
    rng = Random(1)
    net = small_net()
    others = [other for _ in range(300) if (other := neighbour(net, SPACE, rng)) is not None]
    assert {len(o.layers) for o in others} >= {len(net.layers) - 3, len(net.layers) + 3}
    assert {o.layers[0].out_channels for o in others} >= {8, 16}
    assert {o.layers[0].kernel for o in others} >= {1, 3, 5, 7}
    assert {layer.kind for o in others for layer in o.layers} >= ACTIVATIONS & set(SPACE.kinds)


def test_the_same_state_gives_the_same_neighbour() -> None:
    net = small_net()
    assert [neighbour(net, SPACE, Random(s)) for s in range(20)] == [
        neighbour(net, SPACE, Random(s)) for s in range(20)
    ]


def test_the_net_itself_stays_as_it_was() -> None:
    net = small_net()
    before = net.to_json()
    for seed in range(50):
        neighbour(net, SPACE, Random(seed))
    assert net.to_json() == before
