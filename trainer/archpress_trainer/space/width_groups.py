"""`WidthGroups`: which layers of an architecture are equally wide, and what is free to change."""

from __future__ import annotations

from collections.abc import Sequence

from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.vocab import WEIGHTED, LayerKind

_Terms = tuple[int, ...]
"""Nodes whose widths add up to what flows out of a layer; node 0 is the network's input."""


class WidthGroups:
    """The free widths of an architecture, and the channels that flow for any choice of them.

    A sum makes its inputs equally wide, a concatenation adds them up, a depthwise convolution keeps
    what flows in. What the input, the classes or an odd sum of concatenations decide is not free.

    `places` holds the layers of each free group, `widths` their channels. Channels are read from
    slots: `slots[i + 1]` is that of layer `i`'s output, `slots[0]` that of the network's input.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Work out groups and slots."""
        self.architecture = architecture
        self._parent = list(range(len(architecture.layers) + 1))
        terms = self._flows(architecture)
        fixed = {self._root(0), *(self._root(node) for node in terms[-1])}
        fixed |= {self._root(node) for node in self._odd}
        members: dict[int, list[int]] = {}
        for index, layer in enumerate(architecture.layers):
            if layer.kind in WEIGHTED and terms[index + 1] == (index + 1,):
                members.setdefault(self._root(index + 1), []).append(index)
        free = {root: layers for root, layers in members.items() if root not in fixed}
        self.places: tuple[tuple[int, ...], ...] = tuple(map(tuple, free.values()))
        self.widths = [architecture.layers[layers[0]].out_channels for layers in self.places]
        self._fixed = [
            architecture.layers[layers[0]].out_channels
            for root, layers in members.items()
            if root in fixed and root != self._root(0)
        ]
        slot_of = {self._root(0): 0} | {root: 1 + number for number, root in enumerate(free)}
        for root in members:
            if root in fixed:
                slot_of.setdefault(root, len(slot_of))
        self._sums: list[tuple[int, ...]] = []
        self.slots = [self._slot(nodes, slot_of) for nodes in terms]

    def _flows(self, architecture: Architecture) -> list[_Terms]:
        """Return the terms of the input and of each layer, tying the nodes that sums make equal."""
        self._odd: set[int] = set()
        terms: list[_Terms] = [(0,)]
        for index, layer in enumerate(architecture.layers):
            sources = [terms[source + 1] for source in layer.inputs]
            if layer.kind is LayerKind.CONCAT:
                terms.append(tuple(node for nodes in sources for node in nodes))
            elif layer.kind in WEIGHTED and not architecture.is_depthwise(index):
                terms.append((index + 1,))
            else:
                for other in sources[1:]:
                    self._tie(sources[0], other)
                terms.append(sources[0])
        return terms

    def _tie(self, first: _Terms, second: _Terms) -> None:
        if len(first) == len(second) and all(
            self._width(a) == self._width(b) for a, b in zip(first, second, strict=True)
        ):
            for a, b in zip(first, second, strict=True):
                low, high = sorted((self._root(a), self._root(b)))
                self._parent[high] = low
        else:
            self._odd.update((*first, *second))

    def _width(self, node: int) -> int:
        if node == 0:
            return self.architecture.input_shape[0]
        return self.architecture.layers[node - 1].out_channels

    def _root(self, node: int) -> int:
        while self._parent[node] != node:
            node = self._parent[node]
        return node

    def _slot(self, nodes: _Terms, slot_of: dict[int, int]) -> int:
        slots = tuple(slot_of[self._root(node)] for node in nodes)
        if len(slots) == 1:
            return slots[0]
        if slots not in self._sums:
            self._sums.append(slots)
        return 1 + len(self.places) + len(self._fixed) + self._sums.index(slots)

    def channels(self, widths: Sequence[int]) -> list[int]:
        """Return the channels of every slot at these widths of the free groups."""
        values = [self.architecture.input_shape[0], *widths, *self._fixed]
        values += [sum([values[slot] for slot in slots]) for slots in self._sums]
        return values

    def parts(self, slot: int) -> tuple[int, ...]:
        """Return the slots whose channels, one after another, are those of a slot."""
        first_sum = 1 + len(self.places) + len(self._fixed)
        return self._sums[slot - first_sum] if slot >= first_sum else (slot,)

    def with_widths(self, widths: Sequence[int]) -> Architecture:
        """Return the architecture with other widths of the free groups.

        Raises:
            ArchitectureError: the widths do not fit the graph.
        """
        before = self.architecture
        values = self.channels(widths)
        layers = []
        for index, layer in enumerate(before.layers):
            if layer.kind not in WEIGHTED:
                layers.append(layer.with_width(0))
                continue
            channels = values[self.slots[index + 1]]
            depthwise = before.is_depthwise(index)
            layers.append(layer.with_width(channels, channels if depthwise else None))
        return Architecture(before.input_shape, before.classes, tuple(layers))
