"""Masked decoding: field probabilities -> a chain that is valid by construction.

Layers are chosen from the left, each the likeliest among those that fit the shape that the chosen
ones before it give; so every decode is a network, whatever the point in the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archpress_trainer.embedding.codec import Codec
from archpress_trainer.space.graph import Architecture, Layer
from archpress_trainer.space.shapes import window_output
from archpress_trainer.space.vocab import ACTIVATIONS, POOLS, WINDOWED, LayerKind

LogProbabilities = Sequence[NDArray[np.float32]]
"""Per field an array `(classes, length)`."""


@dataclass
class _State:
    side: int | None
    """Smaller side of the feature map; None behind the step to a vector."""
    has_convolution: bool = False
    previous: LayerKind | None = None


def decode_masked(codec: Codec, scores: LogProbabilities) -> Architecture:
    """Return the likeliest valid chain.

    Args:
        codec: names the classes.
        scores: log-probabilities of each field, `(classes, length)`.
    """
    space = codec.space
    state = _State(side=min(space.input_shape[1:]))
    layers: list[Layer] = []
    for t in range(space.max_layers - 1):
        column = _best_column(codec, scores, t, state)
        layer = codec.layer(column)
        layers.append(layer)
        if _is_last(codec, column):
            return Architecture(space.input_shape, space.classes, tuple(layers))
        _advance(state, layer)
    if not state.has_convolution:
        layers[0] = _any_convolution(codec)
        layers = layers[:1]
    layers.append(Layer(LayerKind.LINEAR, out_channels=space.classes))
    return Architecture(space.input_shape, space.classes, tuple(layers))


def _is_last(codec: Codec, column: Sequence[int]) -> bool:
    return codec.values[0][column[0]] == LayerKind.LINEAR and column[2] == 0


def _best_column(
    codec: Codec, scores: LogProbabilities, t: int, state: _State
) -> tuple[int, int, int, int, int]:
    best: tuple[float, tuple[int, int, int, int, int]] | None = None
    for number, value in enumerate(codec.values[0]):
        if value == 0:
            continue
        kind = LayerKind(value)
        if not _kind_fits(kind, state):
            continue
        attributes = _best_attributes(codec, scores, t, kind, state)
        if attributes is None:
            continue
        score, rest = attributes
        score += float(scores[0][number, t])
        if best is None or score > best[0]:
            best = (score, (number, *rest))
    if best is None:
        raise RuntimeError("no layer fits, although a linear one always does")
    return best[1]


def _kind_fits(kind: LayerKind, state: _State) -> bool:
    if kind in ACTIVATIONS and state.previous in ACTIVATIONS:
        return False
    if kind is LayerKind.BATCH_NORM and state.previous is LayerKind.BATCH_NORM:
        return False
    if state.side is None:
        return kind not in WINDOWED and kind is not LayerKind.GLOBAL_AVERAGE_POOL
    ends_map = kind in (LayerKind.LINEAR, LayerKind.GLOBAL_AVERAGE_POOL)
    return state.has_convolution or not ends_map


def _best_attributes(
    codec: Codec, scores: LogProbabilities, t: int, kind: LayerKind, state: _State
) -> tuple[float, tuple[int, int, int, int]] | None:
    """Return the best score of a kind's attributes and their classes; None if none fits."""
    _, kernels, channels, strides, paddings = scores
    if kind is LayerKind.LINEAR:
        width = int(channels[:, t].argmax())
        return float(channels[width, t]), (0, width, 0, 0)
    if kind not in WINDOWED:
        return 0.0, (0, 0, 0, 0)
    window = _best_window(codec, kernels[:, t], paddings[:, t], kind, state)
    if window is None:
        return None
    score, kernel, padding = window
    stride = 1 + int(strides[1:, t].argmax())
    score += float(strides[stride, t])
    if kind in POOLS:
        return score, (kernel, 0, stride, padding)
    width = 1 + int(channels[1:, t].argmax())
    return score + float(channels[width, t]), (kernel, width, stride, padding)


def _best_window(
    codec: Codec,
    kernels: NDArray[np.float32],
    paddings: NDArray[np.float32],
    kind: LayerKind,
    state: _State,
) -> tuple[float, int, int] | None:
    if state.side is None:
        return None
    best: tuple[float, int, int] | None = None
    for kernel in range(1, len(kernels)):
        for padding in range(1, len(paddings)):
            size, pad = codec.values[1][kernel], codec.values[4][padding]
            if window_output(state.side, size, 1, pad) < 1 or (kind in POOLS and pad > size // 2):
                continue
            score = float(kernels[kernel] + paddings[padding])
            if best is None or score > best[0]:
                best = (score, kernel, padding)
    return best


def _advance(state: _State, layer: Layer) -> None:
    if layer.kind in WINDOWED and state.side is not None:
        state.side = window_output(state.side, layer.kernel, layer.stride, layer.padding)
    elif layer.kind in (LayerKind.LINEAR, LayerKind.GLOBAL_AVERAGE_POOL):
        state.side = None
    state.has_convolution |= layer.kind is LayerKind.CONVOLUTION
    state.previous = layer.kind


def _any_convolution(codec: Codec) -> Layer:
    kernel = codec.space.kernels[0]
    return Layer(
        LayerKind.CONVOLUTION, kernel=kernel, out_channels=codec.space.channels[0], stride=1
    )
