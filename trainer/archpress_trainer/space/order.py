"""Topological order of a layer graph: validity, uniqueness and a canonical choice."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence

Inputs = Sequence[Sequence[int]]
"""For each node the nodes that it reads; negative numbers are sources outside the graph."""


def has_unique_order(inputs: Inputs) -> bool:
    """Return whether the given topological order is the only one (paper, lemma 7.2).

    It is just when every node reads its predecessor, that is, when the order is a Hamiltonian
    path.
    """
    return all(index - 1 in inputs[index] for index in range(1, len(inputs)))


def canonical_order(inputs: Inputs, signatures: Sequence[str]) -> list[int]:
    """Return a topological order that depends on the graph only, not on how it was listed.

    Each node is named by a hash of its signature and of all that lies before and behind it;
    among the nodes that may come next, the smallest name does. Nodes with equal names lie alike
    in the graph, so that either choice gives the same network.
    """
    names = _structural_names(inputs, signatures)
    readers: list[list[int]] = [[] for _ in inputs]
    waiting = [0] * len(inputs)
    for index, sources in enumerate(inputs):
        inner = [source for source in sources if source >= 0]
        waiting[index] = len(inner)
        for source in inner:
            readers[source].append(index)
    ready = [(names[index], index) for index, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        _, index = heapq.heappop(ready)
        order.append(index)
        for reader in readers[index]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, (names[reader], reader))
    return order


def _structural_names(inputs: Inputs, signatures: Sequence[str]) -> list[str]:
    before: list[str] = []
    for signature, sources in zip(signatures, inputs, strict=True):
        before.append(_hash(signature, *(before[s] if s >= 0 else "input" for s in sources)))
    behind: list[list[str]] = [[] for _ in inputs]
    names = [""] * len(inputs)
    for index in reversed(range(len(inputs))):
        names[index] = _hash(before[index], *sorted(behind[index]))
        for place, source in enumerate(inputs[index]):
            if source >= 0:
                behind[source].append(_hash(names[index], str(place)))
    return names


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
