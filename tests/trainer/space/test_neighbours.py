"""Neighbours are other chains of the space, one change away."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_trainer.space.neighbours import neighbour
from archpress_trainer.space.practical_sampler import PracticalSampler
from archpress_trainer.space.sampling import draw
from archpress_trainer.space.vocab import ACTIVATIONS
from tests.trainer.nets import SPACE, chains, small_net


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_a_neighbour_is_another_net_of_the_space(seed: int) -> None:
    rng = Random(seed)
    net = next(draw(PracticalSampler(SPACE), rng)).architecture
    for _ in range(10):
        other = neighbour(net, SPACE, rng)
        if other is not None:
            assert other != net
            assert other.digest != net.digest
            assert SPACE.contains(other)
            assert abs(len(other.layers) - len(net.layers)) <= 6


def test_most_draws_give_a_neighbour() -> None:
    rng = Random(0)
    found = [neighbour(net, SPACE, rng) for net in chains(20) for _ in range(20)]
    assert sum(other is not None for other in found) > 200


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
