"""The codec: chains to classes and back, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from archpress_trainer.embedding.codec import (
    DERIVED,
    FIELDS,
    GRAPH_FIELDS,
    Codec,
    OutsideSpaceError,
)
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import add, conv, global_average_pool, linear, relu
from archpress_trainer.space.vocab import LayerKind
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

CODEC = Codec(SPACE)
RESIDUAL = Codec(RESIDUAL_SPACE)
TAIL = (global_average_pool(), linear(CLASSES))


def test_round_trip() -> None:
    for net in chains(80, seed=4):
        CODEC.check(net)
        classes = CODEC.encode(net)
        assert classes.shape == (len(FIELDS), 48)
        assert classes.dtype == np.uint8
        assert (classes < np.array(CODEC.sizes)[:, None]).all()
        assert CODEC.decode(classes) == net
        assert CODEC.decode(CODEC.encode(net)) == net


def test_round_trip_with_joins() -> None:
    for net in [*residual_nets(80, seed=4), *chains(10), residual_net()]:
        classes = RESIDUAL.encode(net)
        assert classes.shape == (len(FIELDS) + len(GRAPH_FIELDS), 96)
        assert (classes < np.array(RESIDUAL.sizes)[:, None]).all()
        assert RESIDUAL.decode(classes) == net


def test_the_order_of_a_joins_inputs_does_not_matter() -> None:
    net = residual_net()
    layers = [replace(layer, inputs=layer.inputs[::-1]) for layer in net.layers]
    turned = Architecture(INPUT_SHAPE, CLASSES, tuple(layers))
    assert turned != net
    assert (RESIDUAL.encode(turned) == RESIDUAL.encode(net)).all()


@pytest.mark.parametrize(
    ("width", "rung"),
    [(1, 8), (8, 8), (9, 8), (11, 8), (12, 16), (63, 64), (71, 64), (72, 80), (5000, 1024)],
)
def test_widths_between_the_rungs_go_to_the_nearest(width: int, rung: int) -> None:
    net = Architecture(INPUT_SHAPE, CLASSES, (conv(width, 3), *TAIL))
    assert CODEC.decode(CODEC.encode(net)).layers[0].out_channels == rung


def test_a_hidden_linear_layer_is_told_from_the_last() -> None:
    net = Architecture(INPUT_SHAPE, CLASSES, (conv(8, 3), linear(64), relu(), linear(CLASSES)))
    assert CODEC.decode(CODEC.encode(net)) == net


def test_derived_numbers_hold_the_costs() -> None:
    net = small_net()
    derived = CODEC.derived(net)
    assert derived.shape == (len(DERIVED), 48)
    used = derived[:, : len(net.layers)] * np.array([10.0, 5.0, 20.0, 25.0])[:, None]
    assert np.allclose(2 ** used[0], [layer.out_channels for layer in net.layers], rtol=1e-4)
    assert round(float((2 ** used[2] - 1).sum())) == count(net).params
    assert abs((2 ** used[3] - 1).sum() / count(net).macs - 1) < 1e-4
    assert (derived[:, len(net.layers) :] == 0).all()


def assert_refused(codec: Codec, architecture: Architecture, words: str) -> None:
    for reading in (codec.encode, codec.check):
        with pytest.raises(OutsideSpaceError, match=words):
            reading(architecture)


def test_images_and_classes_must_be_the_embeddings() -> None:
    channels, height, width = INPUT_SHAPE
    for shape, classes in (((channels + 1, height, width), CLASSES), (INPUT_SHAPE, CLASSES + 1)):
        layers = (conv(8, 3), global_average_pool(), linear(classes))
        assert_refused(CODEC, Architecture(shape, classes, layers), "this embedding's nets")


SKIPPING_POOL = Layer(LayerKind.MAX_POOL, kernel=3, stride=1, padding=1, inputs=(0,))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((conv(1, 3), add(0, -1), *TAIL), "not a chain"),
        ((linear(CLASSES),), "no convolution"),
        ((conv(8, 3), *[relu()] * 60, *TAIL), "63 layers, the embedding's space 48"),
        ((conv(8, 4, padding=1), *TAIL), r"layers\[0\] \(CONVOLUTION\) has a value 4"),
        ((conv(8, 3), Layer(LayerKind.GELU), *TAIL), r"layers\[1\] \(GELU\)"),
        ((conv(8, 3), conv(8, 3, groups=8), *TAIL), r"layers\[1\] \(CONVOLUTION\) has a value 8"),
    ],
)
def test_refused(layers: tuple[Layer, ...], words: str) -> None:
    assert_refused(CODEC, Architecture(INPUT_SHAPE, CLASSES, layers), words)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((conv(8, 3), conv(8, 3), relu(), add(0, 1, 2), *TAIL), r"layers\[3\] \(ADD\)"),
        ((conv(8, 3), *[relu()] * 12, add(0, 12), *TAIL), r"layers\[13\] \(ADD\) has a value 13"),
        ((conv(8, 3), conv(8, 3, groups=4), *TAIL), r"layers\[1\] \(CONVOLUTION\) has a value 4"),
        ((conv(8, 3), conv(8, 3), SKIPPING_POOL, add(1, 2), *TAIL), r"layers\[2\] \(MAX_POOL\)"),
    ],
)
def test_refused_with_joins(layers: tuple[Layer, ...], words: str) -> None:
    assert_refused(RESIDUAL, Architecture(INPUT_SHAPE, CLASSES, layers), words)
