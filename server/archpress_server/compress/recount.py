"""Counting an ONNX file's parameters and MACs from its bytes, whoever wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import onnx
from onnx import shape_inference

_WEIGHT_INPUTS = {"Conv": (1, 2), "Gemm": (1, 2), "BatchNormalization": (1, 2)}


@dataclass(frozen=True, slots=True)
class Recount:
    """Numbers in the weight initializers, and multiply-accumulates for one image."""

    params: int
    macs: int


def recount(model: bytes) -> Recount:
    """Return what the bytes of an ONNX model hold.

    Raises:
        ValueError: a convolution or linear node whose shapes cannot be told.
    """
    graph = shape_inference.infer_shapes(onnx.load_from_string(model)).graph
    sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.output, *graph.input)
    }
    counted: set[str] = set()
    macs = 0
    for node in graph.node:
        for place in _WEIGHT_INPUTS.get(node.op_type, ()):
            if place < len(node.input):
                counted.add(node.input[place])
        if node.op_type in ("Conv", "Gemm"):
            weight, output = sizes.get(node.input[1]), shapes.get(node.output[0])
            if weight is None or output is None:
                raise ValueError(f"node {node.name} has no known shape")
            positions = prod(output[2:]) if node.op_type == "Conv" else 1
            macs += prod(weight) * positions
    return Recount(sum(prod(sizes[name]) for name in counted), macs)
