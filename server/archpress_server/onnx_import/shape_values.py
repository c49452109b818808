"""Values that are shapes: what `view(x.size(0), -1)` becomes in ONNX, with the batch unknown."""

from __future__ import annotations

from archpress_server.onnx_import.graph import Graph, Node
from archpress_trainer.space.shapes import Shape, elements

Sides = tuple[int | None, ...]
"""Sides of a shape; None is that of the batch."""


class ShapeValues:
    """The shapes that a graph calculates, by the name of the value."""

    def __init__(self, graph: Graph) -> None:
        """Know the graph's constants."""
        self._graph = graph
        self._values: dict[str, Sides] = {}

    def get(self, name: str) -> Sides | None:
        """Return the shape of that name, calculated or constant."""
        if name in self._values:
            return self._values[name]
        array = self._graph.constants.get(name)
        if array is None or array.dtype.kind != "i" or array.size > 8:
            return None
        return tuple(int(side) for side in array.reshape(-1))

    def take(self, node: Node, shape: Shape | None) -> bool:
        """Calculate a node if it is about shapes; `shape` is that of its input, without batch."""
        sides = self._result(node, shape)
        if sides is not None:
            self._values[node.outputs[0]] = sides
        return sides is not None

    def _result(self, node: Node, shape: Shape | None) -> Sides | None:
        if node.op == "Shape":
            return None if shape is None else _part(node, (None, *shape))
        first = self.get(node.inputs[0]) if node.inputs else None
        if first is None:
            return None
        if node.op == "Gather" and node.pair is not None:
            places = self.get(node.pair[1])
            if places is None or any(
                p is None or not -len(first) <= p < len(first) for p in places
            ):
                return None
            return tuple(first[place] for place in places if place is not None)
        if node.op in ("Unsqueeze", "Squeeze", "Reshape", "Identity", "Cast"):
            return first
        if node.op == "Concat":
            parts = [self.get(name) for name in node.inputs]
            return None if None in parts else tuple(side for part in parts for side in part or ())
        return None


def _part(node: Node, sides: Sides) -> Sides:
    """Return the sides from `start` to `end`, which a Shape may be limited to."""
    return sides[node.integer("start", 0) : node.integer("end", len(sides))]


def is_flattening(target: Sides, shape: Shape, images: int) -> bool:
    """Whether a reshape to these sides makes one vector of each image of a shape.

    The file was made for a batch of so many `images`, 0 for any.
    """
    if len(target) != 2:
        return False
    batch, rest = target
    fitting = batch in (None, 0, 1) or batch == images
    size = elements(shape)
    return (rest == size and (fitting or batch == -1)) or (rest == -1 and fitting)
