"""Activations that ONNX spells with several nodes: found by the last of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import isclose

from archpress_server.onnx_import.graph import Graph, Node
from archpress_trainer.space.vocab import LayerKind


@dataclass(frozen=True)
class Fused:
    """Nodes that together are one activation of the value `source`."""

    kind: LayerKind
    source: str
    inner: tuple[Node, ...]
    """All but the last."""


def fused_activations(graph: Graph) -> Mapping[str, Fused]:
    """Return the activations by the value that they make; their inner values nobody else reads."""
    found = {}
    for node in graph.nodes:
        for match in (_gated, _gelu):
            fused = match(graph, node)
            if fused is not None and _private(graph, node, fused.inner):
                found[node.outputs[0]] = fused
    return found


def _private(graph: Graph, last: Node, inner: tuple[Node, ...]) -> bool:
    group = {id(last), *map(id, inner)}
    return all(
        name != graph.output and all(id(reader) in group for reader in graph.readers.get(name, ()))
        for node in inner
        for name in node.outputs
    )


def _gated(graph: Graph, node: Node) -> Fused | None:
    """x * sigmoid(x), and x * hard_sigmoid(x) with slope 1/6."""
    if node.op != "Mul":
        return None
    for source, other in _orders(node):
        gate = graph.makers.get(other)
        if gate is None or gate.inputs != (source,):
            continue
        if gate.op == "Sigmoid":
            return Fused(LayerKind.SILU, source, (gate,))
        slope, at_zero = gate.number("alpha", 0.2), gate.number("beta", 0.5)
        if gate.op == "HardSigmoid" and _is_near(slope, 1 / 6) and _is_near(at_zero, 0.5):
            return Fused(LayerKind.HARD_SWISH, source, (gate,))
    return None


def _gelu(graph: Graph, node: Node) -> Fused | None:
    """x * (1 + erf(x / sqrt 2)) / 2, its three factors in any order."""
    if node.op != "Mul":
        return None
    for factors, inner in _products_of_three(graph, node):
        for source, raised, half in permutations(factors):
            found = _error_function(graph, raised, source)
            if found is not None and _is_constant(graph, half, 0.5):
                return Fused(LayerKind.GELU, source, (*found, inner))
    return None


def _products_of_three(graph: Graph, node: Node) -> Iterator[tuple[tuple[str, str, str], Node]]:
    """Yield the factors of a product of a product, and the node of the inner one."""
    for factor, product in _orders(node):
        inner = graph.makers.get(product)
        if inner is not None and inner.op == "Mul" and inner.pair is not None:
            yield (*inner.pair, factor), inner


def _error_function(graph: Graph, raised: str, source: str) -> tuple[Node, ...] | None:
    """Return the nodes of 1 + erf(source / sqrt 2) that make `raised`."""
    add = graph.makers.get(raised)
    if add is None or add.op != "Add":
        return None
    for value, one in _orders(add):
        erf = graph.makers.get(value)
        if erf is None or erf.op != "Erf" or not _is_constant(graph, one, 1.0):
            continue
        scaled = graph.makers.get(erf.inputs[0]) if erf.inputs else None
        if scaled is not None and _is_scaled(graph, scaled, source):
            return add, erf, scaled
    return None


def _is_scaled(graph: Graph, node: Node, source: str) -> bool:
    """Whether a node is source / sqrt 2."""
    factor = {"Div": 2**0.5, "Mul": 0.5**0.5}.get(node.op)
    if factor is None or node.pair is None:
        return False
    return node.pair[0] == source and _is_constant(graph, node.pair[1], factor)


def _orders(node: Node) -> Sequence[tuple[str, str]]:
    return () if node.pair is None else (node.pair, node.pair[::-1])


def _is_constant(graph: Graph, name: str, value: float) -> bool:
    array = graph.constants.get(name)
    return array is not None and array.size == 1 and _is_near(float(array.item()), value)


def _is_near(found: float, value: float) -> bool:
    return isclose(found, value, rel_tol=1e-4)
