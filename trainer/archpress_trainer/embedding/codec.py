"""Architectures <-> categorical fields: what the default autoencoder reads and writes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2

import numpy as np
from numpy.typing import NDArray

from archpress_trainer.space.architecture_space import DEPTHWISE, ArchitectureSpace
from archpress_trainer.space.channel_flow import ChannelFlow
from archpress_trainer.space.costs import layer_macs, layer_params
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import JOINS, WEIGHTED, WINDOWED, LayerKind

FIELDS = ("kind", "kernel", "channels", "stride", "padding")
"""What each layer of a chain has."""

GRAPH_FIELDS = ("groups", "source")
"""What layers have beside that in a space with joins.

`source` is how far back a layer reads: for a convolution instead of the layer before it, for a
join beside it; its class 0 is the layer before it alone.
"""

DERIVED = ("log2 channels", "log2 side", "log2 params", "log2 macs")
"""Per-layer numbers that follow from the fields; the encoder reads them too."""

_SCALES = np.array([10.0, 5.0, 20.0, 25.0], dtype=np.float32)


class OutsideSpaceError(ValueError):
    """An architecture that the embedding's space does not hold; the message says why."""


@dataclass(frozen=True)
class Codec:
    """Turns architectures of a space into class numbers per layer and back.

    Class 0 of every field means "none": the end of the sequence for `kind`, no such attribute for
    the others, for the channels of a LINEAR the number of classes (it is the last layer), and for
    those of a depthwise convolution as many as flow in. Channel counts between the space's rungs
    are encoded as the nearest one.
    """

    space: ArchitectureSpace

    @property
    def length(self) -> int:
        """Columns of a sequence: the most layers, rounded up to a multiple of 8."""
        return -(-self.space.max_layers // 8) * 8

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields."""
        return (*FIELDS, *GRAPH_FIELDS) if self.space.has_joins else FIELDS

    @cached_property
    def values(self) -> tuple[tuple[int, ...], ...]:
        """For each field the value of each class."""
        space = self.space
        values = (
            (0, *(int(kind) for kind in space.kinds)),
            (0, *space.kernels),
            (0, *space.channels),
            (0, *space.strides),
            # "None" and a padding of 0 pixels differ.
            (-1, *space.paddings),
        )
        if not space.has_joins:
            return values
        return (*values, (-1, *space.groups), (0, *range(2, space.max_reach + 1)))

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
        """Return the classes of an architecture, padded with zeros.

        Returns:
            Class numbers of shape `(fields, length)`.

        Raises:
            OutsideSpaceError: the architecture does not lie in the space.
        """
        columns = self._columns(architecture)
        classes = np.zeros((self.length, len(self.fields)), dtype=np.uint8)
        classes[: len(columns)] = columns
        return classes.T

    def check(self, architecture: Architecture) -> None:
        """Refuse what `encode` refuses.

        Raises:
            OutsideSpaceError: the architecture does not lie in the space.
        """
        self._columns(architecture)

    def _columns(self, architecture: Architecture) -> list[tuple[int, ...]]:
        layers = architecture.layers
        takes = (architecture.input_shape, architecture.classes)
        if takes != (self.space.input_shape, self.space.classes):
            raise OutsideSpaceError(
                f"the net takes images of {takes[0]} and has {takes[1]} classes, this embedding's "
                f"nets {self.space.input_shape} and {self.space.classes}"
            )
        if not self.space.has_joins and not architecture.is_chain:
            raise OutsideSpaceError("the net is not a chain; this embedding covers chains only")
        if all(layer.kind is not LayerKind.CONVOLUTION for layer in layers):
            raise OutsideSpaceError("the net has no convolution; this embedding's nets have one")
        if len(layers) > self.space.max_layers:
            raise OutsideSpaceError(
                f"the net has {len(layers)} layers, the embedding's space {self.space.max_layers}"
            )
        columns = []
        for index, layer in enumerate(layers):
            try:
                columns.append(self._column(architecture, index, layer))
            except KeyError as error:
                raise OutsideSpaceError(
                    f"layers[{index}] ({layer.kind.name}) has a value {error} "
                    "that the embedding's space does not"
                ) from None
        return columns

    def _column(self, architecture: Architecture, index: int, layer: Layer) -> tuple[int, ...]:
        kinds, kernels, _, strides, paddings, *graph = self._classes
        kind = kinds[layer.kind]
        groups = 0
        if layer.kind is LayerKind.CONVOLUTION:
            depthwise = architecture.is_depthwise(index)
            if graph:
                groups = graph[0][DEPTHWISE if depthwise else layer.groups]
            elif layer.groups != 1:
                raise KeyError(layer.groups)
            channels = 0 if depthwise else self.nearest_channels(layer.out_channels)
        else:
            hidden = layer.kind is LayerKind.LINEAR and index != len(architecture.layers) - 1
            channels = self.nearest_channels(layer.out_channels) if hidden else 0
        if layer.kind in WINDOWED:
            window = (kernels[layer.kernel], channels, strides[layer.stride])
            column: tuple[int, ...] = (kind, *window, paddings[layer.padding])
        else:
            column = (kind, 0, channels, 0, 0)
        if not graph:
            return column
        return (*column, groups, graph[1][self._source(index, layer)])

    @staticmethod
    def _source(index: int, layer: Layer) -> int:
        """Return how far back a layer reads beside or instead of the one before it, else 0."""
        if layer.kind in JOINS:
            others = [source for source in layer.inputs if source != index - 1]
            if len(layer.inputs) != 2 or len(others) != 1:
                raise KeyError(layer.inputs)
            return index - others[0]
        reach = index - layer.inputs[0]
        if reach > 1 and layer.kind is not LayerKind.CONVOLUTION:
            raise KeyError(layer.inputs)
        return 0 if reach == 1 else reach

    def layers(self, classes: NDArray[np.uint8]) -> list[Layer]:
        """Return the layers that class numbers `(fields, length)` name, up to the first end."""
        layers: list[Layer] = []
        flow = ChannelFlow(self.space.input_shape[0])
        for index, column in enumerate(classes.T.tolist()):
            if column[0] == 0:
                break
            layers.append(self.layer(column, index, flow.into(self._reading(column, index))))
            flow.append(layers[-1])
        return layers

    def layer(self, column: Sequence[int], index: int, in_channels: int) -> Layer:
        """Return the layer that one column of class numbers names.

        Args:
            column: a class number per field.
            index: place of the layer; what it reads counts from there.
            in_channels: channels that flow into it, which a depthwise convolution keeps.
        """
        kind_value, kernel, channels, stride, padding, *graph = (
            values[number] for values, number in zip(self.values, column, strict=True)
        )
        kind = LayerKind(kind_value)
        windowed = kind in WINDOWED
        depthwise = bool(graph) and kind is LayerKind.CONVOLUTION and graph[0] == DEPTHWISE
        width = in_channels if depthwise else channels or self.space.classes
        return Layer(
            kind,
            kernel=kernel if windowed else 0,
            out_channels=width if kind in WEIGHTED else 0,
            stride=stride if windowed else 0,
            padding=max(padding, 0) if windowed else 0,
            groups=in_channels if depthwise else 1,
            rate=self.space.dropout_rate if kind is LayerKind.DROPOUT else 0.0,
            inputs=self._inputs(kind, index, graph[1] if graph else 0),
        )

    @staticmethod
    def _inputs(kind: LayerKind, index: int, reach: int) -> tuple[int, ...]:
        if kind in JOINS:
            return (index - reach, index - 1)
        return (index - reach,) if reach else ()

    def _reading(self, column: Sequence[int], index: int) -> int:
        """Return the layer that a convolution with this column reads."""
        reach = self.values[6][column[6]] if self.space.has_joins else 0
        return index - (reach or 1)

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
        for index, (layer, out) in enumerate(
            zip(architecture.layers, architecture.shapes, strict=True)
        ):
            shape = architecture.in_shape(index)
            side = out[1] if len(out) == 3 else 1
            rows[index] = (
                log2(out[0]),
                log2(side),
                log2(1 + layer_params(layer, shape)),
                log2(1 + layer_macs(layer, shape, out)),
            )
        return (rows / _SCALES).T
