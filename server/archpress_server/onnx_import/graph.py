"""A graph's nodes as plain objects: what the output needs, who makes and who reads each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from archpress_server.compress.types import RequestError
from archpress_server.onnx_import.errors import node_refused, refused

Array = NDArray[Any]


@dataclass(frozen=True)
class Node:
    """One operation; `inputs` and `outputs` are names of values, an empty one is left out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(repr=False)

    def refused(self, text: str, **metadata: str) -> RequestError:
        """Return the error that names this node."""
        return node_refused(self.name, self.op, text, **metadata)

    def number(self, name: str, default: float) -> float:
        """Return a number among the attributes."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise self.refused(f"{name} is no number")
        return float(value)

    def integer(self, name: str, default: int) -> int:
        """Return an integer among the attributes."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.refused(f"{name} is no integer")
        return value

    def numbers(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        """Return a list of integers among the attributes."""
        value = self.attributes.get(name, default)
        if not isinstance(value, list | tuple) or not all(isinstance(v, int) for v in value):
            raise self.refused(f"{name} is no list of integers")
        return tuple(value)

    @property
    def source(self) -> str:
        """The first input, empty if there is none."""
        return self.inputs[0] if self.inputs else ""

    @property
    def pair(self) -> tuple[str, str] | None:
        """The two inputs, if there are just two."""
        return (self.inputs[0], self.inputs[1]) if len(self.inputs) == 2 else None


@dataclass(frozen=True)
class Graph:
    """What the output needs of a graph: nodes in an order that can be run, and constants."""

    input: str
    input_dims: tuple[int, ...]
    output: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array] = field(repr=False)
    makers: Mapping[str, Node] = field(repr=False)
    readers: Mapping[str, tuple[Node, ...]] = field(repr=False)


def read_graph(graph: onnx.GraphProto) -> Graph:
    """Return a guarded graph's parts.

    Raises:
        RequestError: there is not one input and one output, names are double or missing.
    """
    constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise refused(f"has {len(inputs)} inputs and {len(graph.output)} outputs, must have one")
    nodes = []
    for index, proto in enumerate(graph.node):
        node = _node(index, proto)
        if node.op == "Constant":
            constants[node.outputs[0]] = _constant(node)
        else:
            nodes.append(node)
    makers = _makers(nodes, {inputs[0].name, *constants})
    output = graph.output[0].name
    needed = _needed(nodes, makers, output)
    _check_order(needed, {inputs[0].name, *constants})
    readers: dict[str, tuple[Node, ...]] = {}
    for node in needed:
        for name in dict.fromkeys(node.inputs):
            readers[name] = (*readers.get(name, ()), node)
    dims = tuple(d.dim_value for d in inputs[0].type.tensor_type.shape.dim)
    return Graph(inputs[0].name, dims, output, tuple(needed), constants, makers, readers)


def _node(index: int, proto: onnx.NodeProto) -> Node:
    name = proto.name[:100] or f"#{index}"
    try:
        attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    except ValueError as error:
        raise node_refused(name, proto.op_type[:100], str(error)) from None
    node = Node(name, proto.op_type[:100], tuple(proto.input), tuple(proto.output), attributes)
    if not node.outputs or not node.outputs[0]:
        raise node.refused("has no output")
    return node


def _constant(node: Node) -> Array:
    for name, kind in (("value_float", np.float32), ("value_int", np.int64)):
        if name in node.attributes:
            return np.array(node.attributes[name], kind)
    for name, kind in (("value_floats", np.float32), ("value_ints", np.int64)):
        if name in node.attributes:
            return np.array(list(node.attributes[name]), kind)
    if isinstance(node.attributes.get("value"), onnx.TensorProto):
        return _array(node.attributes["value"])
    raise node.refused("holds no numbers")


def _array(tensor: onnx.TensorProto) -> Array:
    try:
        return numpy_helper.to_array(tensor)
    except (TypeError, ValueError):
        raise refused(f"tensor {tensor.name[:100]!r} cannot be read") from None


def _makers(nodes: Sequence[Node], given: set[str]) -> dict[str, Node]:
    makers: dict[str, Node] = {}
    for node in nodes:
        for name in filter(None, node.outputs):
            if name in makers or name in given:
                raise node.refused(f"makes {name[:100]!r}, which is there already")
            makers[name] = node
    return makers


def _needed(nodes: Sequence[Node], makers: Mapping[str, Node], output: str) -> list[Node]:
    """Return the nodes that the output depends on, in the file's order."""
    if output not in makers:
        raise refused(f"no node makes the output {output[:100]!r}")
    wanted: set[int] = set()
    waiting = [makers[output]]
    while waiting:
        node = waiting.pop()
        if id(node) not in wanted:
            wanted.add(id(node))
            waiting += [makers[name] for name in node.inputs if name in makers]
    return [node for node in nodes if id(node) in wanted]


def _check_order(nodes: Sequence[Node], given: set[str]) -> None:
    known = set(given)
    for node in nodes:
        for name in filter(None, node.inputs):
            if name not in known:
                raise node.refused(f"reads {name[:100]!r}, which no node before it makes")
        known.update(node.outputs)
