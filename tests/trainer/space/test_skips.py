"""A skip more or less: the rest of the network stays, and so does its sense."""

from __future__ import annotations

from random import Random

from archpress_trainer.space.draft import Draft
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.skips import change_skip
from archpress_trainer.space.vocab import JOINS, LayerKind
from tests.trainer.nets import RESIDUAL_SPACE, residual_net, small_net


def joins(net: Architecture) -> int:
    return sum(layer.kind in JOINS for layer in net.layers)


def convolutions(net: Architecture) -> int:
    return sum(layer.kind is LayerKind.CONVOLUTION for layer in net.layers)


def changed(net: Architecture, seeds: int) -> list[Architecture]:
    found = []
    for seed in range(seeds):
        draft = Draft(net)
        if not change_skip(draft, RESIDUAL_SPACE, Random(seed)):
            continue
        try:
            found.append(draft.built())
        except ArchitectureError:
            continue
    return found


def test_one_join_goes_or_comes() -> None:
    net = residual_net()
    others = changed(net, 80)
    assert {joins(other) - joins(net) for other in others} == {-1, 1}


def test_a_projection_goes_with_its_skip() -> None:
    net = residual_net()
    dropped = [other for other in changed(net, 80) if joins(other) < joins(net)]
    assert {convolutions(net) - convolutions(other) for other in dropped} == {0, 1}
    for other in dropped:
        lengths = len(net.layers) - len(other.layers)
        # The projection, its norm and the sum; else the join alone.
        assert lengths == (3 if convolutions(other) < convolutions(net) else 1)


def test_a_chain_gets_its_first_skip() -> None:
    others = changed(small_net(), 60)
    assert others
    for other in others:
        assert joins(other) == 1
        assert RESIDUAL_SPACE.contains(other)
        assert convolutions(other) == 2


def test_both_kinds_of_join_come() -> None:
    kinds = {layer.kind for other in changed(small_net(second=8), 60) for layer in other.layers}
    assert kinds >= JOINS
