"""Chains <-> categorical fields: what the default autoencoder reads and writes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2

import numpy as np
from numpy.typing import NDArray

from archpress_trainer.space.chain import ChainSpace
from archpress_trainer.space.costs import layer_macs, layer_params
from archpress_trainer.space.graph import Architecture, Layer
from archpress_trainer.space.vocab import WEIGHTED, WINDOWED, LayerKind

FIELDS = ("kind", "kernel", "channels", "stride", "padding")
DERIVED = ("log2 channels", "log2 side", "log2 params", "log2 macs")
"""Per-layer numbers that follow from the fields; the encoder reads them too."""

_SCALES = np.array([10.0, 5.0, 20.0, 25.0], dtype=np.float32)


class OutsideSpaceError(ValueError):
    """An architecture that the embedding's space does not hold; the message says why."""


@dataclass(frozen=True)
class Codec:
    """Turns chains of a space into class numbers per layer and back.

    Class 0 of every field means "none": the end of the sequence for `kind`, no such attribute for
    the others, and for the channels of a LINEAR the number of classes (it is the last layer).
    Channel counts between the space's rungs are encoded as the nearest one.
    """

    space: ChainSpace

    @property
    def length(self) -> int:
        """Columns of a sequence: the longest chain, rounded up to a multiple of 4."""
        return -(-self.space.max_layers // 4) * 4

    @cached_property
    def values(self) -> tuple[tuple[int, ...], ...]:
        """For each field the value of each class."""
        space = self.space
        return (
            (0, *(int(kind) for kind in space.kinds)),
            (0, *space.kernels),
            (0, *space.channels),
            (0, *space.strides),
            # "None" and a padding of 0 pixels differ.
            (-1, *space.paddings),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of classes of each field."""
        return tuple(len(values) for values in self.values)

    @cached_property
    def _classes(self) -> tuple[dict[int, int], ...]:
        return tuple({value: i for i, value in enumerate(values)} for values in self.values)

    def nearest_channels(self, channels: int) -> int:
        """Return the class of the rung nearest to a channel count, by ratio."""
        rungs = self.space.channels
        place = bisect_left(rungs, channels)
        if place == 0:
            return 1
        if place == len(rungs):
            return len(rungs)
        below, above = rungs[place - 1], rungs[place]
        return place if channels * channels < below * above else place + 1

    def encode(self, architecture: Architecture) -> NDArray[np.uint8]:
        """Return the classes of a chain, padded with zeros.

        Returns:
            Class numbers of shape `(fields, length)`.

        Raises:
            OutsideSpaceError: the chain does not lie in the space.
        """
        if not architecture.is_chain:
            raise OutsideSpaceError("the net is not a chain; this embedding covers chains only")
        layers = architecture.layers
        if all(layer.kind is not LayerKind.CONVOLUTION for layer in layers):
            raise OutsideSpaceError("the net has no convolution; this embedding's nets have one")
        if len(layers) > self.space.max_layers:
            raise OutsideSpaceError(
                f"the net has {len(layers)} layers, the embedding's space {self.space.max_layers}"
            )
        kinds, kernels, _, strides, paddings = self._classes
        columns = np.zeros((self.length, len(FIELDS)), dtype=np.uint8)
        last = len(layers) - 1
        for index, layer in enumerate(layers):
            try:
                kind = kinds[layer.kind]
                if layer.kind in WINDOWED:
                    columns[index] = (
                        kind,
                        kernels[layer.kernel],
                        self.nearest_channels(layer.out_channels)
                        if layer.kind is LayerKind.CONVOLUTION
                        else 0,
                        strides[layer.stride],
                        paddings[layer.padding],
                    )
                else:
                    hidden = layer.kind is LayerKind.LINEAR and index != last
                    channels = self.nearest_channels(layer.out_channels) if hidden else 0
                    columns[index] = (kind, 0, channels, 0, 0)
            except KeyError as error:
                raise OutsideSpaceError(
                    f"layers[{index}] ({layer.kind.name}) has a value {error} "
                    "that the embedding's space does not"
                ) from None
        return columns.T

    def layers(self, classes: NDArray[np.uint8]) -> list[Layer]:
        """Return the layers that class numbers `(fields, length)` name, up to the first end."""
        layers = []
        for column in classes.T.tolist():
            if column[0] == 0:
                break
            layers.append(self.layer(column))
        return layers

    def layer(self, column: Sequence[int]) -> Layer:
        """Return the layer that one column of class numbers names."""
        kind_value, kernel, channels, stride, padding = (
            values[number] for values, number in zip(self.values, column, strict=True)
        )
        kind = LayerKind(kind_value)
        windowed = kind in WINDOWED
        weighted = kind in WEIGHTED
        return Layer(
            kind,
            kernel=kernel if windowed else 0,
            out_channels=(channels or self.space.classes) if weighted else 0,
            stride=stride if windowed else 0,
            padding=max(padding, 0) if windowed else 0,
            rate=self.space.dropout_rate if kind is LayerKind.DROPOUT else 0.0,
        )

    def decode(self, classes: NDArray[np.uint8]) -> Architecture:
        """Return the architecture that class numbers name.

        Raises:
            ArchitectureError: they do not make a valid network.
        """
        layers = tuple(self.layers(classes))
        return Architecture(self.space.input_shape, self.space.classes, layers)

    def derived(self, architecture: Architecture) -> NDArray[np.float32]:
        """Return the `DERIVED` numbers of each layer, scaled to about 0 to 1.

        Returns:
            Numbers of shape `(4, length)`, zero behind the end.
        """
        rows = np.zeros((self.length, len(DERIVED)), dtype=np.float32)
        shape = architecture.input_shape
        for index, (layer, out) in enumerate(
            zip(architecture.layers, architecture.shapes, strict=True)
        ):
            side = out[1] if len(out) == 3 else 1
            rows[index] = (
                log2(out[0]),
                log2(side),
                log2(1 + layer_params(layer, shape)),
                log2(1 + layer_macs(layer, shape, out)),
            )
            shape = out  # type: ignore[assignment]
        return (rows / _SCALES).T
