"""`Architecture`: a directed acyclic graph of layers with fixed input shape and class count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

from archpress_trainer.space.costs import Costs, count
from archpress_trainer.space.errors import ArchitectureError, Violation
from archpress_trainer.space.layer import INPUT, Layer
from archpress_trainer.space.order import canonical_order, has_unique_order
from archpress_trainer.space.shapes import Shape, ShapeError, output_shape
from archpress_trainer.space.vocab import WEIGHTED, LayerKind
from archpress_trainer.space.wellformed import header_violations, layer_violations


@dataclass(frozen=True)
class Architecture:
    """Layers in topological order, validated on construction.

    Construction normalises: inputs and biases become explicit, and the channel count of a layer
    that cannot choose it is the inferred one. So equal networks compare equal.

    Raises:
        ArchitectureError: with every violation found; shape inference stops at the first layer
            that does not fit, since nothing behind it has a shape.
    """

    input_shape: tuple[int, int, int]
    classes: int
    layers: tuple[Layer, ...]
    shapes: tuple[Shape, ...] = field(init=False, compare=False, repr=False)
    """Output shape of each layer: `(channels, height, width)` or `(channels,)`."""
    consumers: tuple[tuple[int, ...], ...] = field(init=False, compare=False, repr=False)
    """For each layer, the indices of the layers that read it."""

    def __post_init__(self) -> None:
        """Validate, normalise and infer the shapes."""
        violations = header_violations(self.input_shape, self.classes, len(self.layers))
        if violations:
            raise ArchitectureError(violations)
        layers = tuple(_explicit_inputs(index, layer) for index, layer in enumerate(self.layers))
        violations = layer_violations(layers)
        if violations:
            raise ArchitectureError(violations)
        shapes = self._infer(layers)
        consumers = _consumers(layers)
        object.__setattr__(self, "layers", _normalised(layers, shapes, consumers))
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(self, "consumers", consumers)

    def _infer(self, layers: tuple[Layer, ...]) -> tuple[Shape, ...]:
        shapes: list[Shape] = []
        for index, layer in enumerate(layers):
            inputs = [self.input_shape if i == INPUT else shapes[i] for i in layer.inputs]
            try:
                shape = output_shape(layer, inputs)
            except ShapeError as error:
                raise ArchitectureError(
                    [Violation(error.field, str(error), index, layer.kind)]
                ) from None
            if layer.out_channels not in (0, shape[0]):
                raise ArchitectureError(
                    [
                        Violation(
                            "out_channels",
                            f"is {layer.out_channels}, but the input gives {shape[0]} channels",
                            index,
                            layer.kind,
                        )
                    ]
                )
            shapes.append(shape)
        if shapes[-1] != (self.classes,):
            raise ArchitectureError(
                [
                    Violation(
                        "out_channels",
                        f"the last layer gives {list(shapes[-1])}, "
                        f"but the network has {self.classes} classes",
                        len(layers) - 1,
                        layers[-1].kind,
                    )
                ]
            )
        return tuple(shapes)

    def in_shape(self, index: int) -> Shape:
        """Return the shape that flows into layer `index`; of a join, that of its first input."""
        source = self.layers[index].inputs[0]
        return self.input_shape if source == INPUT else self.shapes[source]

    def is_depthwise(self, index: int) -> bool:
        """Return whether layer `index` is a convolution of each channel by itself."""
        layer = self.layers[index]
        return layer.groups > 1 and layer.groups == self.in_shape(index)[0] == layer.out_channels

    @cached_property
    def costs(self) -> Costs:
        """Exact costs."""
        return count(self)

    @property
    def is_chain(self) -> bool:
        """Whether every layer reads just the one before it."""
        return all(layer.inputs == (index - 1,) for index, layer in enumerate(self.layers))

    @property
    def has_unique_order(self) -> bool:
        """Whether the topological order is the only one (paper, lemma 7.2)."""
        return has_unique_order([layer.inputs for layer in self.layers])

    def canonical(self) -> Architecture:
        """Return the same network with its layers in the canonical topological order."""
        signatures = [
            json.dumps(replace(layer, inputs=()).to_json(), sort_keys=True) for layer in self.layers
        ]
        order = canonical_order([layer.inputs for layer in self.layers], signatures)
        place = {old: new for new, old in enumerate(order)} | {INPUT: INPUT}
        layers = tuple(
            replace(self.layers[old], inputs=tuple(place[i] for i in self.layers[old].inputs))
            for old in order
        )
        return Architecture(self.input_shape, self.classes, layers)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical form: equal for reorderings of the same network."""
        source = self if self.has_unique_order else self.canonical()
        header = _text({"classes": self.classes, "input_shape": self.input_shape})
        layers = ",".join(_layer_text(layer, place) for place, layer in enumerate(source.layers))
        # The JSON text of `to_json`; the networks of a search share most of their layers.
        text = f'{header[:-1]},"layers":[{layers}]}}'
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; inputs are left out where they are the previous layer."""
        return {
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "layers": [layer.to_json(place) for place, layer in enumerate(self.layers)],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Architecture:
        """Inverse of `to_json`."""
        channels, height, width = record["input_shape"]
        layers = tuple(Layer.from_json(layer) for layer in record["layers"])
        return cls((channels, height, width), record["classes"], layers)


def _consumers(layers: tuple[Layer, ...]) -> tuple[tuple[int, ...], ...]:
    readers: list[list[int]] = [[] for _ in layers]
    for index, layer in enumerate(layers):
        for source in layer.inputs:
            if source != INPUT:
                readers[source].append(index)
    return tuple(tuple(reader) for reader in readers)


def biased_by_default(readers: Iterable[LayerKind]) -> bool:
    """Return whether a layer that these kinds read has a bias where it does not say."""
    return list(readers) != [LayerKind.BATCH_NORM]


def _text(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=4096)
def _layer_text(layer: Layer, place: int) -> str:
    return _text(layer.to_json(place))


def _explicit_inputs(index: int, layer: Layer) -> Layer:
    return layer if layer.inputs else replace(layer, inputs=(index - 1,))


def _normalised(
    layers: tuple[Layer, ...], shapes: tuple[Shape, ...], consumers: tuple[tuple[int, ...], ...]
) -> tuple[Layer, ...]:
    result = []
    for index, (layer, shape) in enumerate(zip(layers, shapes, strict=True)):
        bias = layer.bias
        if layer.kind in WEIGHTED and bias is None:
            bias = biased_by_default(layers[i].kind for i in consumers[index])
        if layer.out_channels != shape[0] or bias is not layer.bias:
            layer = layer.with_width(shape[0], bias=bias)
        result.append(layer)
    return tuple(result)
