"""Layers that hold numbers: convolutions, linear layers and batch normalisations with theirs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archpress_server.onnx_import.graph import Array, Graph, Node
from archpress_server.onnx_import.windows import window
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.shapes import Shape, elements
from archpress_trainer.space.vocab import LayerKind

Weights = Mapping[str, Array]
"""Float32 arrays by the names that torch gives the layer's parameters."""

_TORCH_EPSILON = 1e-5


def convolution(graph: Graph, node: Node, shape: Shape) -> tuple[Layer, Weights]:
    """Return a Conv node's layer on maps of a shape."""
    weight = constant(graph, node, 1, 4)
    groups = node.integer("group", 1)
    if groups < 1 or shape[0] != weight.shape[1] * groups:
        raise node.refused(
            f"has weights {list(weight.shape)} in {groups} groups for {shape[0]} channels"
        )
    kernel, stride, padding = window(node, shape, weight.shape[2:])
    bias = _bias(graph, node, weight.shape[0])
    layer = Layer(
        LayerKind.CONVOLUTION, kernel, weight.shape[0], stride, padding, groups, bias is not None
    )
    return layer, _with_bias(weight, bias)


def convolution_of_vector(graph: Graph, node: Node, shape: Shape) -> tuple[Layer, Weights]:
    """Return a Conv node that reads averages over whole maps: a linear layer."""
    weight = constant(graph, node, 1, 4)
    one = all(side == 1 for side in weight.shape[2:]) and node.integer("group", 1) == 1
    if not one or weight.shape[1:] != (shape[0], 1, 1):
        raise node.refused(f"reads a vector of {shape[0]} with weights {list(weight.shape)}")
    if window(node, (*shape, 1, 1), (1, 1)) != (1, 1, 0):
        raise node.refused(f"reads a vector of {shape[0]}, needs maps")
    bias = _bias(graph, node, weight.shape[0])
    layer = Layer(LayerKind.LINEAR, out_channels=weight.shape[0], bias=bias is not None)
    return layer, _with_bias(weight[:, :, 0, 0], bias)


def gemm(graph: Graph, node: Node, shape: Shape) -> tuple[Layer, Weights]:
    """Return a Gemm node's linear layer on vectors or maps of a shape."""
    plain = node.number("alpha", 1) == 1 and node.number("beta", 1) == 1
    if not plain or node.integer("transA", 0):
        raise node.refused("scales or transposes its input")
    weight = constant(graph, node, 1, 2)
    return _linear(node, weight if node.integer("transB", 0) else weight.T, shape, graph)


def matmul(graph: Graph, node: Node, shape: Shape) -> tuple[Layer, Weights]:
    """Return a MatMul node's linear layer without a bias."""
    return _linear(node, constant(graph, node, 1, 2).T, shape, None)


def batch_norm(graph: Graph, node: Node, shape: Shape) -> tuple[Layer, Weights]:
    """Return a BatchNormalization node's layer, scaled for torch's epsilon."""
    if node.integer("training_mode", 0):
        raise node.refused("is in training mode; export the model in evaluation mode")
    names = ("weight", "bias", "running_mean", "running_var")
    arrays = [constant(graph, node, place, 1) for place in range(1, 5)]
    if any(array.shape != shape[:1] for array in arrays):
        sizes = [array.size for array in arrays]
        raise node.refused(f"has {sizes} numbers for {shape[0]} channels")
    epsilon = node.number("epsilon", _TORCH_EPSILON)
    if not 0 <= epsilon <= 1 or not (arrays[3] + epsilon > 0).all():
        raise node.refused(f"divides by the root of zero or less, or epsilon is {epsilon:g}")
    if epsilon != _TORCH_EPSILON:
        variance = arrays[3].astype(np.float64)
        # Not added to the variance, of which nothing may be left beside torch's epsilon.
        arrays[3] = np.maximum(arrays[3], np.float32(0))
        ratio = np.sqrt((arrays[3].astype(np.float64) + _TORCH_EPSILON) / (variance + epsilon))
        arrays[0] = (arrays[0] * ratio).astype(np.float32)
    if not np.isfinite(arrays[0]).all():
        raise node.refused("scales by numbers that are not finite")
    return Layer(LayerKind.BATCH_NORM), dict(zip(names, arrays, strict=True))


def constant(graph: Graph, node: Node, place: int, rank: int) -> Array:
    """Return a constant float32 input of a node.

    Raises:
        RequestError: it is missing, calculated, of another rank or not finite.
    """
    array = graph.constants.get(node.inputs[place]) if place < len(node.inputs) else None
    if array is None:
        raise node.refused(f"input {place} must be constant numbers in the file")
    if array.dtype != np.float32 or array.ndim != rank:
        raise node.refused(f"input {place} is {array.dtype} of rank {array.ndim}, must be {rank}")
    if not np.isfinite(array).all():
        raise node.refused(f"input {place} holds numbers that are not finite")
    return array


def _linear(node: Node, weight: Array, shape: Shape, graph: Graph | None) -> tuple[Layer, Weights]:
    if weight.shape[1] != elements(shape):
        raise node.refused(f"has weights for {weight.shape[1]} numbers, gets {elements(shape)}")
    bias = None if graph is None else _bias(graph, node, weight.shape[0])
    layer = Layer(LayerKind.LINEAR, out_channels=weight.shape[0], bias=bias is not None)
    return layer, _with_bias(weight, bias)


def _bias(graph: Graph, node: Node, size: int) -> Array | None:
    if len(node.inputs) < 3 or not node.inputs[2]:
        return None
    rank = graph.constants[node.inputs[2]].ndim if node.inputs[2] in graph.constants else 1
    bias = constant(graph, node, 2, rank)
    if bias.shape not in ((size,), (1, size)):
        raise node.refused(f"has a bias of {list(bias.shape)} for {size} outputs")
    return bias.reshape(-1)


def _with_bias(weight: Array, bias: Array | None) -> Weights:
    return {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
