"""Which tensors of a traced module may be the same memory, seen through other names."""

from __future__ import annotations

from torch.fx import Graph, Node

from archpress_client.torch_import.operation import Operation

ALIASES = ("alias", "contiguous", "detach")
DROPOUTS = ("dropout", "feature_dropout")
RESHAPES = ("flatten", "reshape", "squeeze", "unsqueeze", "view")

_SHARING = frozenset((*ALIASES, *DROPOUTS, *RESHAPES))
"""Operations that may give their argument itself, or other sides of the same numbers."""


class Memory:
    """The tensors of a graph, and which of them change with another."""

    def __init__(self, graph: Graph) -> None:
        """Read the graph once."""
        self._places: dict[Node, int] = {}
        self._tensors: dict[Node, Node] = {}
        self._families: dict[Node, list[Node]] = {}
        for place, node in enumerate(graph.nodes):
            self._places[node] = place
            self._add(node)

    def tensor(self, node: Node) -> Node:
        """Return the first name of a tensor: one that was changed in place is still the same."""
        return self._tensors[node]

    def stale(self, change: Node) -> Node | None:
        """Return a tensor that a change in place would change too, and that is read afterwards."""
        changed = self._tensors[change]
        for node in self._families[changed]:
            before = self._places[node] < self._places[change]
            if before and self._tensors[node] is not changed and self._is_read_after(node, change):
                return node
        return None

    def _add(self, node: Node) -> None:
        self._tensors[node], self._families[node] = node, []
        if node.op == "call_function":
            operation = Operation(node)
            source, in_place = operation.first, operation.in_place
            if in_place and isinstance(source, Node):
                self._tensors[node] = self._tensors[source]
            shares = in_place or operation.kind.removesuffix("_") in _SHARING
            if shares and isinstance(source, Node):
                self._families[node] = self._families[source]
        self._families[node].append(node)

    def _is_read_after(self, node: Node, change: Node) -> bool:
        return any(self._places[reader] > self._places[change] for reader in node.users)
