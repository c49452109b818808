"""Masked decoding gives a valid network for any scores."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_trainer.embedding.codec import Codec
from archpress_trainer.embedding.decode import decode_masked
from archpress_trainer.space.architecture_space import ArchitectureSpace, residual_space
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.vocab import ACTIVATIONS, LayerKind
from tests.trainer.nets import RESIDUAL_SPACE, SPACE, chains, residual_net, residual_nets

CODEC = Codec(SPACE)
SPACES = [
    SPACE,
    ArchitectureSpace((3, 32, 32), 10),
    ArchitectureSpace((1, 28, 20), 10),
    ArchitectureSpace((2, 2, 2), 3),
    replace(SPACE, max_layers=3),
    RESIDUAL_SPACE,
    residual_space((3, 32, 32), 10),
    residual_space((1, 28, 20), 10),
    residual_space((2, 2, 2), 3),
    replace(RESIDUAL_SPACE, max_layers=5),
    replace(RESIDUAL_SPACE, max_reach=3),
]


def random_scores(codec: Codec, rng: np.random.Generator, scale: float) -> list[np.ndarray]:
    return [rng.normal(0, scale, (size, codec.length)).astype(np.float32) for size in codec.sizes]


@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.1, 3.0, 100.0]),
    space=st.sampled_from(SPACES),
)
@settings(max_examples=60)
def test_any_scores_give_a_valid_network(seed: int, scale: float, space: ArchitectureSpace) -> None:
    codec = Codec(space)
    net = decode_masked(codec, random_scores(codec, np.random.default_rng(seed), scale))
    assert (net.input_shape, net.classes) == (space.input_shape, space.classes)
    assert net.is_chain or space.has_joins
    assert len(net.layers) <= space.max_layers
    assert any(layer.kind is LayerKind.CONVOLUTION for layer in net.layers)
    kinds = [layer.kind for layer in net.layers]
    for first, second in itertools.pairwise(kinds):
        assert not (first in ACTIVATIONS and second in ACTIVATIONS)
    # Only its size may lie outside the space.
    assert {v.field for v in space.violations(net)} <= {"params", "macs"}


@pytest.mark.parametrize("kind", [LayerKind.RELU, LayerKind.DROPOUT, LayerKind.MAX_POOL])
def test_a_net_without_a_convolution_gets_one(kind: LayerKind) -> None:
    scores = [np.zeros((size, CODEC.length), np.float32) for size in CODEC.sizes]
    scores[0][1 + SPACE.kinds.index(kind)] = 50.0
    scores[0][1 + SPACE.kinds.index(LayerKind.CONVOLUTION)] = -50.0
    net = decode_masked(CODEC, scores)
    assert any(layer.kind is LayerKind.CONVOLUTION for layer in net.layers)


def certain_scores(codec: Codec, net: Architecture) -> list[np.ndarray]:
    classes = codec.encode(net)
    scores = []
    for field, size in enumerate(codec.sizes):
        values = np.full((size, codec.length), -100.0, np.float32)
        values[classes[field], np.arange(codec.length)] = 0.0
        scores.append(values)
    return scores


def test_certain_scores_give_their_network() -> None:
    for net in chains(40, seed=6):
        assert decode_masked(CODEC, certain_scores(CODEC, net)) == net


def test_certain_scores_give_their_network_with_joins() -> None:
    codec = Codec(RESIDUAL_SPACE)
    for net in [*residual_nets(40, seed=6), residual_net()]:
        assert decode_masked(codec, certain_scores(codec, net)) == net


def test_a_sum_makes_its_inputs_equally_wide() -> None:
    codec = Codec(RESIDUAL_SPACE)
    scores = certain_scores(codec, residual_net())
    # The convolution in front of the first sum would rather be wider than the skip.
    scores[2][1:, 6] = -1.0
    scores[2][5, 6] = -0.1
    net = decode_masked(codec, scores)
    assert net == residual_net()


def test_a_projection_keeps_to_the_body_that_it_joins() -> None:
    codec = Codec(RESIDUAL_SPACE)
    scores = certain_scores(codec, residual_net())
    # A stride of 1 on the projection alone would give it a larger map than its body has.
    scores[3][1, 12], scores[3][2, 12] = 0.0, -1.0
    assert decode_masked(codec, scores) == residual_net()
