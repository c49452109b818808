"""`Draft`: an architecture as a list of layers that can be inserted, removed and changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from archpress_trainer.space.architecture_space import DEPTHWISE
from archpress_trainer.space.graph import Architecture, biased_by_default
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.shapes import Shape
from archpress_trainer.space.vocab import WEIGHTED, LayerKind


class Draft:
    """Layers without what follows from their place: biases, and channels that they do not choose.

    Inputs are explicit; a depthwise convolution has `DEPTHWISE` groups until it is built.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Start with the layers of an architecture."""
        self._architecture = architecture
        self.layers = [*_loose_layers(architecture)]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Output shapes of the layers, before any change."""
        return self._architecture.shapes

    def shape_of(self, source: int) -> Shape:
        """Return the shape of a layer's output, or of the input for -1, before any change."""
        return self._architecture.input_shape if source < 0 else self.shapes[source]

    def places(self, *kinds: LayerKind) -> list[int]:
        """Return where layers of these kinds are."""
        return [index for index, layer in enumerate(self.layers) if layer.kind in kinds]

    def change(self, place: int, **attributes: object) -> None:
        """Give one layer other attributes."""
        self.layers[place] = replace(self.layers[place], **attributes)  # type: ignore[arg-type]

    def insert(self, place: int, block: Sequence[Layer], origin: int | None = None) -> None:
        """Put layers in front of layer `place`; who read the one before them reads the last one.

        Args:
            place: where the first of them goes.
            block: the layers; without inputs, they read the one before.
            origin: place that their inputs count from; unset is `place`.
        """
        shift = place - (place if origin is None else origin)
        inserted = [
            replace(layer, inputs=tuple(s + shift for s in layer.inputs) or (place + number - 1,))
            for number, layer in enumerate(block)
        ]
        behind = [_moved(layer, place - 1, len(block)) for layer in self.layers[place:]]
        self.layers = [*self.layers[:place], *inserted, *behind]

    def remove(self, start: int, end: int) -> bool:
        """Take out layers `start` to `end - 1`, and return whether that can be.

        Who read the last of them reads the one before them; none of the others may be read.
        """
        inside = range(start, end - 1)
        behind = self.layers[end:]
        if any(source in inside for layer in behind for source in layer.inputs):
            return False
        self.layers = [*self.layers[:start], *(_moved(la, end - 1, start - end) for la in behind)]
        return True

    def block(self, place: int, followers: frozenset[LayerKind]) -> tuple[int, int]:
        """Return start and end of what lies round a layer between places that all paths cross.

        In a chain that is the layer; round a convolution under a skip it is all from the layer that
        the skip leaves to its join. Directly following layers of kinds in `followers` belong to it.
        """
        cuts = self._cuts()
        start, end = place, place + 1
        while not cuts[start]:
            start -= 1
        while not cuts[end]:
            end += 1
        while end < len(self.layers) and self.layers[end].kind in followers and cuts[end + 1]:
            end += 1
        return start, end

    def _cuts(self) -> list[bool]:
        """Return for each place whether all that lies behind reads only the layer before it."""
        cuts = [True]
        lowest = len(self.layers)
        for index in reversed(range(len(self.layers))):
            lowest = min(lowest, *self.layers[index].inputs)
            cuts.append(lowest >= index - 1)
        return cuts[::-1]

    def built(self) -> Architecture:
        """Return the architecture, with the inputs of sums made equally wide where one can be.

        Raises:
            ArchitectureError: the layers make none.
        """
        layers = tuple(_settled(self.layers, self._architecture.input_shape[0]))
        return Architecture(self._architecture.input_shape, self._architecture.classes, layers)


@lru_cache(maxsize=16)
def _loose_layers(architecture: Architecture) -> tuple[Layer, ...]:
    # Searches draw many changes of a network one after another.
    return tuple(_loose(architecture, index) for index in range(len(architecture.layers)))


def _loose(architecture: Architecture, index: int) -> Layer:
    layer = architecture.layers[index]
    if layer.kind not in WEIGHTED:
        return layer.with_width(0)
    depthwise = architecture.is_depthwise(index)
    readers = (architecture.layers[reader].kind for reader in architecture.consumers[index])
    bias = layer.bias if layer.bias is not biased_by_default(readers) else None
    return Layer(
        layer.kind,
        layer.kernel,
        0 if depthwise else layer.out_channels,
        layer.stride,
        layer.padding,
        DEPTHWISE if depthwise else layer.groups,
        bias=bias,
        rate=layer.rate,
        inputs=layer.inputs,
    )


def _moved(layer: Layer, last: int, by: int) -> Layer:
    """Return a layer whose inputs from `last` on have moved."""
    inputs = tuple(source + by if source >= last else source for source in layer.inputs)
    return layer if inputs == layer.inputs else replace(layer, inputs=inputs)


def _settled(layers: Sequence[Layer], in_channels: int) -> list[Layer]:
    """Return layers whose depthwise convolutions and sums fit the channels that flow."""
    settled: list[Layer] = []
    flows, producers = [in_channels], [-1]
    for index, layer in enumerate(layers):
        first = layer.inputs[0] + 1
        flow = flows[first]
        producer = producers[first] if first == index else -1
        if layer.kind is LayerKind.CONVOLUTION and layer.groups == DEPTHWISE:
            layer = replace(layer, out_channels=flow, groups=flow)
        elif layer.kind in WEIGHTED:
            flow, producer = layer.out_channels, index
        elif layer.kind is LayerKind.CONCAT:
            flow, producer = sum(flows[source + 1] for source in layer.inputs), -1
        elif layer.kind is LayerKind.ADD:
            others = [source for source in layer.inputs if source != index - 1]
            flow = flows[others[0] + 1] if others else flow
            if flows[-1] != flow and producers[-1] >= 0:
                _widen(settled, flows, producers[-1], flow)
            producer = -1
        settled.append(layer)
        flows.append(flow)
        producers.append(producer)
    return settled


def _widen(settled: list[Layer], flows: list[int], producer: int, channels: int) -> None:
    """Give the layer `producer`, and those up to the last that keep its channels, other ones."""
    settled[producer] = replace(settled[producer], out_channels=channels)
    for index in range(producer + 1, len(settled)):
        if settled[index].kind is LayerKind.CONVOLUTION:
            settled[index] = replace(settled[index], out_channels=channels, groups=channels)
    flows[producer + 1 :] = [channels] * (len(flows) - producer - 1)
