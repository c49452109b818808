"""What masked decoding knows of the layers chosen so far: which layers may come next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from archpress_trainer.embedding.codec import Codec
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.shapes import window_output
from archpress_trainer.space.vocab import ACTIVATIONS, JOINS, WINDOWED, LayerKind

Sides = tuple[int, int]
"""Height and width of a feature map."""


class DecodeState:
    """Columns of class numbers chosen so far, with the shapes that they give.

    At most one branch is open at a time: a convolution of an earlier layer leaves the one before
    it `pending`, and only norms and activations may follow until a join has read both.
    """

    def __init__(self, codec: Codec) -> None:
        """Start in front of the first layer."""
        self._codec = codec
        self._columns: list[tuple[int, ...]] = []
        self._sides: list[Sides | None] = [codec.space.input_shape[1:]]
        self._channels = [codec.space.input_shape[0]]
        self._producers: list[int | None] = [None]
        self._previous: LayerKind | None = None
        self._pending: int | None = None
        self.has_convolution = False

    @property
    def place(self) -> int:
        """Index of the layer to choose next."""
        return len(self._columns)

    @property
    def channels(self) -> int:
        """Channels that flow out of the last layer."""
        return self._channels[-1]

    @property
    def sides(self) -> Sides | None:
        """Height and width behind the last layer; None behind the step to a vector."""
        return self._sides[-1]

    def layers(self) -> list[Layer]:
        """Return the chosen layers."""
        return self._codec.layers(np.array(self._columns, dtype=np.uint8).T)

    def allows(self, kind: LayerKind) -> bool:
        """Return whether a layer of this kind may come next, as far as its kind decides it."""
        if self._pending is not None and (kind in JOINS or self._must_join(self._pending)):
            return kind in JOINS
        if kind in ACTIVATIONS and self._previous in ACTIVATIONS:
            return False
        if kind is LayerKind.BATCH_NORM and self._previous is LayerKind.BATCH_NORM:
            return False
        if self._pending is not None:
            return kind is LayerKind.BATCH_NORM or kind in ACTIVATIONS
        if self.sides is None:
            return kind not in WINDOWED | JOINS and kind is not LayerKind.GLOBAL_AVERAGE_POOL
        ends_map = kind in (LayerKind.LINEAR, LayerKind.GLOBAL_AVERAGE_POOL)
        return self.has_convolution or not ends_map

    def _must_join(self, pending: int) -> bool:
        space = self._codec.space
        return self.place == space.max_layers - 2 or self.place - pending == space.max_reach

    def readable(self) -> Iterator[tuple[int, Sides, Sides | None]]:
        """Yield what a convolution may read: how far back, its sides, and those to make of it."""
        assert self.sides is not None
        yield 1, self.sides, None
        space = self._codec.space
        if self.place > space.max_layers - 3 or self.channels not in space.channels:
            return
        for reach in self._reaches():
            sides = self._sides[-reach]
            if sides is not None:
                yield reach, sides, self.sides

    def joinable(self, kind: LayerKind) -> Iterator[int]:
        """Yield how far back the other layer of a join may lie."""
        if self._pending is not None:
            yield self.place - self._pending
            return
        for reach in self._reaches():
            if self._sides[-reach] != self.sides:
                continue
            other = self._channels[-reach]
            if kind is LayerKind.CONCAT:
                fits = other + self.channels <= max(self._codec.space.channels)
            else:
                fits = other == self.channels or self._can_tie(other)
            if fits:
                yield reach

    def _reaches(self) -> range:
        return range(2, min(self._codec.space.max_reach, self.place + 1) + 1)

    def _can_tie(self, channels: int) -> bool:
        return self._producers[-1] is not None and channels in self._codec.space.channels

    def tie_gain(self, kind: LayerKind, reach: int, channels: NDArray[np.float32]) -> float:
        """Return what it adds to the score to give the last layer the channels that a join needs.

        Args:
            kind: of the join.
            reach: how far back its other layer lies.
            channels: scores of the channel classes, `(classes, length)`.
        """
        producer = self._producers[-1]
        other = self._channels[-reach]
        if kind is LayerKind.CONCAT or other == self.channels or producer is None:
            return 0.0
        now = self._columns[producer][2]
        return float(channels[self._class(other), producer] - channels[now, producer])

    def _class(self, channels: int) -> int:
        return 1 + self._codec.space.channels.index(channels)

    def append(self, column: tuple[int, ...]) -> None:
        """Take a column as the next layer."""
        layer = self._codec.layer(column, self.place, self.channels)
        if layer.kind in JOINS:
            self._join(layer)
        elif layer.kind is LayerKind.CONVOLUTION:
            self._convolve(layer)
        elif layer.kind is LayerKind.LINEAR:
            self._push(None, layer.out_channels, None)
        else:
            sides = self.sides
            if layer.kind is LayerKind.GLOBAL_AVERAGE_POOL:
                sides = None
            elif layer.kind in WINDOWED and sides is not None:
                sides = _windowed(sides, layer)
            self._push(sides, self.channels, self._producers[-1])
        self._columns.append(column)
        self._previous = layer.kind

    def _convolve(self, layer: Layer) -> None:
        place = self.place
        source = layer.inputs[0] if layer.inputs else place - 1
        sides = self._sides[source + 1]
        assert sides is not None
        if source != place - 1:
            self._pending = place - 1
        depthwise = layer.groups > 1
        producer = self._producers[-1] if depthwise else place
        self._push(_windowed(sides, layer), layer.out_channels, producer)
        self.has_convolution = True

    def _join(self, layer: Layer) -> None:
        other = self._channels[layer.inputs[0] + 1]
        if layer.kind is LayerKind.CONCAT:
            self._push(self.sides, other + self.channels, None)
        else:
            if other != self.channels:
                self._tie(other)
            self._push(self.sides, other, None)
        self._pending = None

    def _tie(self, channels: int) -> None:
        producer = self._producers[-1]
        assert producer is not None
        column = self._columns[producer]
        self._columns[producer] = (*column[:2], self._class(channels), *column[3:])
        # Between a producer and the layer before a join there are only layers that keep channels.
        self._channels[producer + 1 :] = [channels] * (len(self._channels) - producer - 1)

    def _push(self, sides: Sides | None, channels: int, producer: int | None) -> None:
        self._sides.append(sides)
        self._channels.append(channels)
        self._producers.append(producer)


def _windowed(sides: Sides, layer: Layer) -> Sides:
    height, width = (
        window_output(side, layer.kernel, layer.stride, layer.padding) for side in sides
    )
    return height, width
