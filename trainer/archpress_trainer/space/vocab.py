"""The layer vocabulary: which kinds exist and which attributes each of them has."""

from __future__ import annotations

from enum import IntEnum


class LayerKind(IntEnum):
    """A kind of layer; 1 to 8 are the paper's, in its order (section 9)."""

    CONVOLUTION = 1
    MAX_POOL = 2
    BATCH_NORM = 3
    RELU = 4
    SIGMOID = 5
    DROPOUT = 6
    AVERAGE_POOL = 7
    LINEAR = 8
    GLOBAL_AVERAGE_POOL = 9
    ADD = 10
    CONCAT = 11
    LEAKY_RELU = 12
    RELU6 = 13
    SILU = 14
    HARD_SWISH = 15
    GELU = 16
    TANH = 17


PAPER_KINDS = tuple(LayerKind(number) for number in range(1, 9))

ACTIVATIONS = frozenset(
    {
        LayerKind.RELU,
        LayerKind.SIGMOID,
        LayerKind.LEAKY_RELU,
        LayerKind.RELU6,
        LayerKind.SILU,
        LayerKind.HARD_SWISH,
        LayerKind.GELU,
        LayerKind.TANH,
    }
)
WEIGHTED = frozenset({LayerKind.CONVOLUTION, LayerKind.LINEAR})
"""Kinds with a weight matrix: they choose their own `out_channels`."""

POOLS = frozenset({LayerKind.MAX_POOL, LayerKind.AVERAGE_POOL})
WINDOWED = POOLS | {LayerKind.CONVOLUTION}
"""Kinds with `kernel`, `stride` and `padding`."""

JOINS = frozenset({LayerKind.ADD, LayerKind.CONCAT})
"""Kinds with two or more inputs."""

CLASSIFIERS = frozenset({LayerKind.LINEAR, LayerKind.GLOBAL_AVERAGE_POOL})
"""Kinds that may be the last layer."""


class Limits:
    """The largest values that any architecture may have, whatever the space."""

    LAYERS = 512
    CHANNELS = 16_384
    KERNEL = 31
    STRIDE = 16
    PADDING = 30
    INPUT_SIDE = 512
    INPUT_CHANNELS = 64
    CLASSES = 10_000
