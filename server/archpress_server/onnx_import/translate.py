"""From ONNX's nodes to layers, one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from archpress_server.onnx_import.errors import refused
from archpress_server.onnx_import.graph import Array, Graph, Node
from archpress_server.onnx_import.patterns import fused_activations
from archpress_server.onnx_import.shape_values import ShapeValues, is_flattening
from archpress_server.onnx_import.weighted import (
    Weights,
    batch_norm,
    constant,
    convolution,
    convolution_of_vector,
    gemm,
    matmul,
)
from archpress_server.onnx_import.windows import window
from archpress_trainer.space.layer import INPUT, Layer
from archpress_trainer.space.shapes import Shape, ShapeError, output_shape
from archpress_trainer.space.vocab import LayerKind, Limits

_ACTIVATIONS = {
    "Relu": LayerKind.RELU,
    "Sigmoid": LayerKind.SIGMOID,
    "Tanh": LayerKind.TANH,
    "HardSwish": LayerKind.HARD_SWISH,
}
_WEIGHTED = {
    "Conv": convolution,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
}
_POOLS = {"MaxPool": LayerKind.MAX_POOL, "AveragePool": LayerKind.AVERAGE_POOL}
_SHAPE_OPS = frozenset(
    {"Cast", "Concat", "Gather", "Identity", "Reshape", "Shape", "Squeeze", "Unsqueeze"}
)


@dataclass(frozen=True)
class _Value:
    """The output of a layer, or the input; flat where a map was made one vector."""

    source: int
    flat: bool = False


@dataclass
class Translation:
    """Layers with their weights, and what is done to the image before the first of them."""

    graph: Graph
    input_shape: Shape
    layers: list[Layer] = field(default_factory=list)
    weights: list[Weights] = field(default_factory=list)
    scale: Array | None = None
    """Each channel is multiplied by `scale`, then `shift` is added; None is neither."""
    shift: Array | None = None

    def __post_init__(self) -> None:
        """Start from the input."""
        self._shapes: list[Shape] = []
        self._values = {self.graph.input: _Value(INPUT)}
        self._sides = ShapeValues(self.graph)
        self._fused = fused_activations(self.graph)
        self._skipped = {id(node) for fused in self._fused.values() for node in fused.inner}
        self._rules = self._table()
        self._of_vectors: set[int] = set()
        """Linear layers that are convolutions in the file, whose outputs have sides there."""
        self._unused_bytes = sum(
            array.nbytes
            for name, array in self.graph.constants.items()
            if name in self.graph.readers
        )

    @property
    def output_shape(self) -> Shape:
        """Shape of the last layer's output."""
        return self._shapes[-1] if self._shapes else self.input_shape

    def run(self) -> None:
        """Translate every node.

        Raises:
            RequestError: a node cannot be expressed, or the output is none of a layer.
        """
        for node in self.graph.nodes:
            if id(node) not in self._skipped:
                self._values |= self._translate(node)
        end = self._values.get(self.graph.output)
        if end is None or end.source != len(self.layers) - 1:
            raise refused("the output is not that of the last layer")

    def _translate(self, node: Node) -> Mapping[str, _Value]:
        fused = self._fused.get(node.outputs[0])
        if fused is not None:
            return {node.outputs[0]: self._activation(node, fused.kind, fused.source)}
        known = self._values.get(node.source)
        if node.op in _SHAPE_OPS and self._sides.take(
            node, None if known is None else self._shape(known)
        ):
            return {}
        rule = self._rules.get(node.op)
        if rule is None:
            known_ops = ", ".join(sorted(self._rules))
            raise node.refused(f"cannot be expressed; known are {known_ops}", known=known_ops)
        return {node.outputs[0]: rule(node)}

    def _table(self) -> Mapping[str, Callable[[Node], _Value]]:
        return {
            **dict.fromkeys(_WEIGHTED, self._weighted),
            **dict.fromkeys(_ACTIVATIONS, self._plain_activation),
            **dict.fromkeys(_POOLS, self._pool),
            **dict.fromkeys(("Add", "Sub", "Mul", "Div"), self._arithmetic),
            **dict.fromkeys(("Flatten", "Reshape", "Squeeze"), self._flatten),
            **dict.fromkeys(("Softmax", "LogSoftmax"), self._softmax),
            "Clip": self._clip,
            "Concat": self._concat,
            "Dropout": self._dropout,
            "Gelu": self._exact_gelu,
            "GlobalAveragePool": self._global_pool,
            "Identity": lambda node: self._read(node, 0),
            "LeakyRelu": self._leaky,
            "ReduceMean": self._mean,
            "Sum": lambda node: self._join(node, LayerKind.ADD),
        }

    def _read(self, node: Node, place: int) -> _Value:
        name = node.inputs[place] if place < len(node.inputs) else ""
        value = self._values.get(name)
        if value is None:
            what = "a constant" if name in self.graph.constants else "no value of the network"
            raise node.refused(f"input {place} is {what}")
        return value

    def _shape(self, value: _Value) -> Shape:
        return self.input_shape if value.source == INPUT else self._shapes[value.source]

    def _map(self, node: Node) -> tuple[_Value, Shape]:
        """Return the first input, which must not be flattened."""
        value = self._read(node, 0)
        shape = self._shape(value)
        if value.flat and shape[1:] != (1, 1):
            raise node.refused(f"reads maps of {list(shape)} that were made a vector")
        return value, shape

    def _put(self, node: Node, layer: Layer, values: Sequence[_Value], weights: Weights) -> _Value:
        """Add a layer; what was flat stays so where its shape stays."""
        shapes = [self._shape(value) for value in values]
        try:
            shape = output_shape(layer, shapes)
        except ShapeError as error:
            raise node.refused(str(error)) from None
        if len(self.layers) == Limits.LAYERS:
            raise node.refused(f"is one layer more than {Limits.LAYERS}")
        self._unused_bytes -= sum(array.nbytes for array in weights.values())
        if self._unused_bytes < 0:
            raise node.refused("shares its weights with another layer")
        self.layers.append(replace(layer, inputs=tuple(value.source for value in values)))
        self.weights.append(weights)
        self._shapes.append(shape)
        return _Value(len(self.layers) - 1, values[0].flat and shape == shapes[0])

    def _weighted(self, node: Node) -> _Value:
        linear = node.op in ("Gemm", "MatMul")
        value = self._read(node, 0) if linear else self._map(node)[0]
        shape = self._shape(value)
        if node.op == "Conv" and len(shape) != 3:
            layer, weights = convolution_of_vector(self.graph, node, shape)
            self._of_vectors.add(len(self.layers))
            return self._put(node, layer, [value], weights)
        if linear and len(shape) == 3 and not value.flat:
            raise node.refused(f"reads maps of {list(shape)}; flatten them before")
        layer, weights = _WEIGHTED[node.op](self.graph, node, shape)
        return self._put(node, layer, [value], weights)

    def _plain_activation(self, node: Node) -> _Value:
        return self._activation(node, _ACTIVATIONS[node.op], node.source)

    def _activation(self, node: Node, kind: LayerKind, source: str) -> _Value:
        value = self._values.get(source)
        if value is None:
            raise node.refused("reads no value of the network")
        return self._put(node, Layer(kind), [value], {})

    def _leaky(self, node: Node) -> _Value:
        slope = node.number("alpha", 0.01)
        if not abs(slope - 0.01) <= 1e-6:
            raise node.refused(f"alpha is {slope:g}, must be 0.01")
        return self._activation(node, LayerKind.LEAKY_RELU, node.source)

    def _exact_gelu(self, node: Node) -> _Value:
        if node.attributes.get("approximate", b"none") != b"none":
            raise node.refused("is approximated, must be exact")
        return self._activation(node, LayerKind.GELU, node.source)

    def _clip(self, node: Node) -> _Value:
        bounds = [
            constant(self.graph, node, place, 0).item() if len(node.inputs) > place else None
            for place in (1, 2)
        ]
        found = [
            node.number(name, float("nan")) if bound is None else bound
            for name, bound in zip(("min", "max"), bounds, strict=True)
        ]
        if found != [0.0, 6.0]:
            raise node.refused(f"cuts at {found[0]:g} and {found[1]:g}, must be 0 and 6")
        return self._activation(node, LayerKind.RELU6, node.source)

    def _dropout(self, node: Node) -> _Value:
        rate = node.number("ratio", 0.5)
        if len(node.inputs) > 1 and node.inputs[1]:
            rate = constant(self.graph, node, 1, 0).item()
        if not 0 <= rate < 1:
            raise node.refused(f"ratio is {rate:g}, must be at least 0 and below 1")
        layer = Layer(LayerKind.DROPOUT, rate=round(rate, 6))
        return self._put(node, layer, [self._read(node, 0)], {})

    def _pool(self, node: Node) -> _Value:
        value, shape = self._map(node)
        if len(shape) != 3:
            raise node.refused(f"reads a vector of {shape[0]}, needs maps")
        kernel, stride, padding = window(node, shape)
        if (kernel, stride, padding) == (1, 1, 0):
            return value
        counts = bool(node.integer("count_include_pad", 0))
        if node.op == "AveragePool" and padding and not counts:
            raise node.refused("leaves its padding out of the averages (count_include_pad)")
        layer = Layer(_POOLS[node.op], kernel=kernel, stride=stride, padding=padding)
        return self._put(node, layer, [value], {})

    def _global_pool(self, node: Node) -> _Value:
        value, _ = self._map(node)
        return self._put(node, Layer(LayerKind.GLOBAL_AVERAGE_POOL), [value], {})

    def _mean(self, node: Node) -> _Value:
        axes: Sequence[int | None] = node.numbers("axes", ())
        if len(node.inputs) > 1:
            axes = self._sides.get(node.inputs[1]) or ()
        if sorted(axis % 4 if axis is not None else 0 for axis in axes) != [2, 3]:
            raise node.refused(f"averages over the axes {list(axes)[:8]}, must be 2 and 3")
        return self._global_pool(node)

    def _flatten(self, node: Node) -> _Value:
        value = self._read(node, 0)
        shape = self._shape(value)
        if node.op == "Reshape":
            target = self._sides.get(node.inputs[1]) if len(node.inputs) > 1 else None
            if target is None or not is_flattening(target, shape, self.graph.input_dims[0]):
                raise node.refused("reshapes to something else than one vector for each image")
        elif node.op == "Flatten" and node.integer("axis", 1) not in (1, -3):
            raise node.refused("must flatten from axis 1")
        elif node.op == "Squeeze" and shape[1:] not in ((), (1, 1)):
            raise node.refused(f"squeezes maps of {list(shape)}")
        return replace(value, flat=len(shape) == 3)

    def _softmax(self, node: Node) -> _Value:
        if node.outputs[0] != self.graph.output:
            raise node.refused("is known at the end only, where it is left out")
        value = self._read(node, 0)
        last = len(self._shape(value))
        if node.integer("axis", last) not in (-1, last, 1):
            raise node.refused("must be over the classes (axis 1)")
        return value

    def _concat(self, node: Node) -> _Value:
        if node.integer("axis", 0) not in (1, -3):
            raise node.refused("must join channels (axis 1)")
        return self._join(node, LayerKind.CONCAT)

    def _join(self, node: Node, kind: LayerKind) -> _Value:
        values = [self._read(node, place) for place in range(len(node.inputs))]
        if len(values) < 2 or len({value.flat for value in values}) != 1:
            raise node.refused("needs two inputs or more of one kind")
        if kind is LayerKind.CONCAT and values[0].flat:
            raise node.refused("joins vectors that were maps")
        return self._put(node, Layer(kind), values, {})

    def _arithmetic(self, node: Node) -> _Value:
        """Add two values, or a bias to the layer before, or scale the image before all layers."""
        if node.pair is None:
            raise node.refused(f"has {len(node.inputs)} inputs")
        left, right = node.pair
        if left in self.graph.constants and node.op in ("Add", "Mul"):
            left, right = right, left
        number = self.graph.constants.get(right)
        if number is None:
            if node.op != "Add":
                raise node.refused("combines two values, of which only sums can be expressed")
            return self._join(node, LayerKind.ADD)
        value = self._values.get(left)
        if value is None:
            raise node.refused("reads no value of the network")
        if number.dtype != np.float32 or not np.isfinite(number).all():
            raise node.refused("has a constant that is no finite float32")
        if value.source == INPUT and not self.layers:
            if not self._is_read_once(INPUT):
                raise node.refused("scales the image, which others read as it was")
            self._scale(node, number)
            return value
        return self._add_bias(node, value, number)

    def _scale(self, node: Node, number: Array) -> None:
        channels = self.input_shape[0]
        one_each = (channels, 1, 1)
        for_all = number.size == 1 and number.ndim <= 4
        if not for_all and number.shape not in (one_each, (1, *one_each)):
            text = f"has numbers {list(number.shape)}, must be one for each of {channels} channels"
            raise node.refused(text)
        each = np.broadcast_to(number.reshape(-1), (channels,)).astype(np.float64)
        scale = np.ones(channels) if self.scale is None else self.scale
        shift = np.zeros(channels) if self.shift is None else self.shift
        if node.op in ("Mul", "Div"):
            if node.op == "Div" and not each.all():
                raise node.refused("divides by zero")
            factor = each if node.op == "Mul" else 1 / each
            self.scale, self.shift = scale * factor, shift * factor
        else:
            self.scale, self.shift = scale, shift + (each if node.op == "Add" else -each)

    def _is_read_once(self, source: int) -> bool:
        """Whether a layer's output, by whatever name, has one reader; its shape may have more."""
        names = [name for name, value in self._values.items() if value.source == source]
        readers = (self.graph.readers.get(name, ()) for name in names)
        return all(sum(node.op != "Shape" for node in found) <= 1 for found in readers)

    def _add_bias(self, node: Node, value: _Value, number: Array) -> _Value:
        layer = self.layers[value.source] if value.source != INPUT else None
        alone = self._is_read_once(value.source) and value.source == len(self.layers) - 1
        if layer is None or node.op != "Add" or not alone or layer.bias is not False:
            raise node.refused("changes a value by a constant, which can be a bias only")
        is_vector = layer.kind is LayerKind.LINEAR and value.source not in self._of_vectors
        one_each = (layer.out_channels,) if is_vector else (layer.out_channels, 1, 1)
        if number.shape not in (one_each, (1, *one_each)):
            raise node.refused(f"adds numbers {list(number.shape)} to {layer.out_channels} outputs")
        self.layers[value.source] = replace(layer, bias=True)
        self.weights[value.source] = {**self.weights[value.source], "bias": number.reshape(-1)}
        return value
