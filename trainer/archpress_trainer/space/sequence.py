"""The paper's `5 x T` integer sequence of a chain, and its inverse (sections 3.1 and 4, eq. 7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import WEIGHTED, LayerKind


class NotAChainError(ValueError):
    """An architecture with joins or skips, which this sequence cannot express."""


def to_sequence(architecture: Architecture) -> NDArray[np.int64]:
    """Return `[kind, kernel, out_channels, stride, padding]` per layer.

    Attributes that a kind does not have are 0; layers that keep the number of channels repeat it
    (paper, section 9).

    Returns:
        Integers of shape `(5, layers)`.

    Raises:
        NotAChainError: some layer does not read just the one before it.
    """
    if not architecture.is_chain:
        raise NotAChainError("the 5 x T sequence expresses chains only; this net has joins")
    columns = [
        (layer.kind, layer.kernel, layer.out_channels, layer.stride, layer.padding)
        for layer in architecture.layers
    ]
    return np.array(columns, dtype=np.int64).T


def from_sequence(
    sequence: NDArray[np.int64],
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    dropout_rate: float = 0.5,
) -> Architecture:
    """Inverse of `to_sequence` for chains with one group, default biases and this dropout rate.

    Args:
        sequence: integers of shape `(5, layers)`.
        input_shape: `(channels, height, width)` of the network's input.
        classes: number of classes.
        dropout_rate: rate of every DROPOUT layer, which the sequence does not hold.

    Raises:
        ArchitectureError: the columns do not make a valid network.
        ValueError: a column names no layer kind.
    """
    layers = []
    for kind, kernel, out_channels, stride, padding in sequence.T.tolist():
        layer_kind = LayerKind(kind)
        layers.append(
            Layer(
                layer_kind,
                kernel=kernel,
                out_channels=out_channels if layer_kind in WEIGHTED else 0,
                stride=stride,
                padding=padding,
                rate=dropout_rate if layer_kind is LayerKind.DROPOUT else 0.0,
            )
        )
    return Architecture(input_shape, classes, tuple(layers))
