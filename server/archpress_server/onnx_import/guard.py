"""From bytes to a graph that is bounded and complete, before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto

from archpress_server.compress.types import Reason
from archpress_server.onnx_import.errors import node_refused, refused

OLDEST_OPSET = 7
MAX_NODES = 4096
_MAX_FIELDS = 1024
"""Inputs, outputs or attributes of a node, for which the format has no limit."""

_MAX_RANK = 8
_DOMAINS = ("", "ai.onnx")
_DTYPE_BYTES: Mapping[int, int] = {TensorProto.FLOAT: 4, TensorProto.INT64: 8, TensorProto.INT32: 4}
_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def guarded_graph(content: bytes) -> onnx.GraphProto:
    """Return the graph of an ONNX file.

    The file may not point outside itself, bring operators of its own, branch or loop, and each
    tensor holds as many numbers as it says.

    Raises:
        RequestError: the file is no ONNX model or is refused, with the reason.
    """
    try:
        model = onnx.load_from_string(content)
    except DecodeError:
        raise refused("is not an ONNX file") from None
    _check_model(model)
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        actual, maximum = str(len(graph.node)), str(MAX_NODES)
        facts = {"limit": "max_onnx_nodes", "maximum": maximum, "actual": actual}
        text = f"has {actual} nodes, the limit max_onnx_nodes is {maximum}"
        raise refused(text, Reason.LIMIT_EXCEEDED, facts)
    if graph.sparse_initializer:
        raise refused("has sparse weights; write them dense")
    for node in graph.node:
        _check_node(node)
    for tensor in _tensors(graph):
        _check_tensor(tensor)
    return graph


def _check_model(model: onnx.ModelProto) -> None:
    if not model.HasField("graph") or not model.graph.node:
        raise refused("is not an ONNX file: it has no graph")
    if model.functions:
        raise refused(f"defines a function of its own, {model.functions[0].name[:100]!r}")
    newest = onnx.defs.onnx_opset_version()
    versions = [one.version for one in model.opset_import if one.domain in _DOMAINS]
    if not versions or not OLDEST_OPSET <= max(versions) <= newest:
        told = max(versions, default=0)
        raise refused(f"has opset {told}, must be {OLDEST_OPSET} to {newest}")


def _check_node(node: onnx.NodeProto) -> None:
    name, op = node.name[:100], node.op_type[:100]
    if max(len(node.input), len(node.output), len(node.attribute)) > _MAX_FIELDS:
        raise node_refused(name, op, f"has more than {_MAX_FIELDS} inputs, outputs or attributes")
    if node.domain not in _DOMAINS:
        raise node_refused(name, op, f"is of the domain {node.domain[:100]!r}, not of ONNX itself")
    if any(attribute.type in _GRAPHS for attribute in node.attribute):
        raise node_refused(name, op, "holds a graph: control flow cannot be expressed")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t


def _check_tensor(tensor: onnx.TensorProto) -> None:
    name = tensor.name[:100]
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise refused(f"tensor {name!r} lies in another file; save the model as one file")
    size = _DTYPE_BYTES.get(tensor.data_type)
    if size is None:
        raise refused(f"tensor {name!r} is of type {tensor.data_type}, not float32, int32 or int64")
    if len(tensor.dims) > _MAX_RANK or any(side < 0 for side in tensor.dims):
        raise refused(f"tensor {name!r} has the shape {list(tensor.dims)[:_MAX_RANK]}")
    held = len(tensor.raw_data) / size
    if not tensor.raw_data:
        held = len(tensor.float_data) + len(tensor.int32_data) + len(tensor.int64_data)
    if held != prod(tensor.dims):
        raise refused(f"tensor {name!r} holds {held:g} numbers for {list(tensor.dims)}")
