"""Masked decoding: field probabilities -> a network that is valid by construction.

Layers are chosen from the left, each the likeliest among those that fit the shapes that the chosen
ones before it give; so every decode is a network, whatever the point in the embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from archpress_trainer.embedding.codec import Codec
from archpress_trainer.embedding.decode_state import DecodeState, Sides
from archpress_trainer.space.architecture_space import DEPTHWISE
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.shapes import window_output
from archpress_trainer.space.vocab import JOINS, POOLS, LayerKind

LogProbabilities = Sequence[NDArray[np.float32]]
"""Per field an array `(classes, length)`."""

Column = Sequence[NDArray[np.float32]]
"""Per field the log-probabilities `(classes,)` at one place."""

Choice = tuple[float, tuple[int, ...]]
"""A score and the class numbers that have it."""


def decode_masked(codec: Codec, scores: LogProbabilities) -> Architecture:
    """Return the likeliest valid network.

    Args:
        codec: names the classes.
        scores: log-probabilities of each field, `(classes, length)`.
    """
    space = codec.space
    state = DecodeState(codec)
    while state.place < space.max_layers - 1:
        column = _best_column(codec, scores, state)
        state.append(column)
        if _is_last(codec, column):
            return Architecture(space.input_shape, space.classes, tuple(state.layers()))
    layers = state.layers() if state.has_convolution else [_any_convolution(codec)]
    layers.append(Layer(LayerKind.LINEAR, out_channels=space.classes))
    return Architecture(space.input_shape, space.classes, tuple(layers))


def _is_last(codec: Codec, column: Sequence[int]) -> bool:
    return codec.values[0][column[0]] == LayerKind.LINEAR and column[2] == 0


def _best_column(codec: Codec, scores: LogProbabilities, state: DecodeState) -> tuple[int, ...]:
    at = [field[:, state.place] for field in scores]
    best: Choice | None = None
    for number in sorted(range(1, len(at[0])), key=lambda number: -at[0][number]):
        start = float(at[0][number])
        if best is not None and start <= best[0]:
            # Log-probabilities only lower a score, so no later kind can pass the best.
            break
        kind = LayerKind(codec.values[0][number])
        if not state.allows(kind):
            continue
        for score, rest in _attributes(codec, scores, at, kind, state):
            if best is None or start + score > best[0]:
                best = (start + score, (number, *rest))
    if best is None:
        raise RuntimeError("no layer fits, although a linear one or a join always does")
    return best[1]


def _attributes(
    codec: Codec,
    scores: LogProbabilities,
    at: Column,
    kind: LayerKind,
    state: DecodeState,
) -> Iterator[Choice]:
    """Yield the best scores of a kind's attributes with their classes, per way to read."""
    if kind in JOINS:
        for reach in state.joinable(kind):
            score = float(at[6][reach - 1]) + state.tie_gain(kind, reach, scores[2])
            yield score, (0, 0, 0, 0, 0, reach - 1)
        return
    if kind is LayerKind.CONVOLUTION:
        yield from _convolutions(codec, at, state)
        return
    read, unread = (float(at[6][0]), (0, 0)) if codec.space.has_joins else (0.0, ())
    if kind in POOLS:
        assert state.sides is not None
        window = _best_window(codec, at, kind, state.sides, None)
        if window is not None:
            score, (kernel, stride, padding) = window
            yield score + read, (kernel, 0, stride, padding, *unread)
    elif kind is LayerKind.LINEAR:
        width = int(at[2].argmax())
        yield float(at[2][width]) + read, (0, width, 0, 0, *unread)
    else:
        yield read, (0, 0, 0, 0, *unread)


def _convolutions(codec: Codec, at: Column, state: DecodeState) -> Iterator[Choice]:
    """Yield the best convolution of the layer before it, and of each earlier one that fits."""
    width = 1 + int(at[2][1:].argmax())
    best = -np.inf
    for reach, sides, target in state.readable():
        read = float(at[6][reach - 1]) if codec.space.has_joins else 0.0
        if read <= best:
            continue
        window = _best_window(codec, at, LayerKind.CONVOLUTION, sides, target)
        if window is None:
            continue
        score, (kernel, stride, padding) = window
        widths: list[tuple[float, int, tuple[int, ...]]] = [(float(at[2][width]), width, ())]
        if codec.space.has_joins:
            full = 1 + codec.space.groups.index(1)
            widths = [(float(at[2][width] + at[5][full]), width, (full, reach - 1))]
            if reach == 1 and state.channels > 1 and DEPTHWISE in codec.space.groups:
                depthwise = 1 + codec.space.groups.index(DEPTHWISE)
                widths.append((float(at[2][0] + at[5][depthwise]), 0, (depthwise, 0)))
        for channels, number, graph in widths:
            best = max(best, score + read + channels)
            yield score + read + channels, (kernel, number, stride, padding, *graph)


def _best_window(
    codec: Codec, at: Column, kind: LayerKind, sides: Sides, target: Sides | None
) -> Choice | None:
    """Return the best kernel, stride and padding for a map, or those that make `target` of it."""
    _, kernels, _, strides, paddings = at[:5]
    steps = range(1, len(strides)) if target else (1 + int(strides[1:].argmax()),)
    best: Choice | None = None
    for kernel in range(1, len(kernels)):
        for padding in range(1, len(paddings)):
            size, pad = codec.values[1][kernel], codec.values[4][padding]
            if window_output(min(sides), size, 1, pad) < 1 or (kind in POOLS and pad > size // 2):
                continue
            for stride in steps:
                step = codec.values[3][stride]
                if target and target != tuple(window_output(s, size, step, pad) for s in sides):
                    continue
                score = float(kernels[kernel] + paddings[padding] + strides[stride])
                if best is None or score > best[0]:
                    best = (score, (kernel, stride, padding))
    return best


def _any_convolution(codec: Codec) -> Layer:
    kernel = codec.space.kernels[0]
    return Layer(
        LayerKind.CONVOLUTION, kernel=kernel, out_channels=codec.space.channels[0], stride=1
    )
