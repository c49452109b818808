"""Topological orders: lemma 7.2 against brute force, and the canonical choice."""

from __future__ import annotations

from itertools import pairwise, permutations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_trainer.space.order import canonical_order, has_unique_order

Inputs = list[list[int]]


def random_inputs(rng: Random, nodes: int) -> Inputs:
    """Return a graph whose nodes are listed in a topological order."""
    density = rng.random()
    return [[s for s in range(i) if rng.random() < density] for i in range(nodes)]


def count_orders(inputs: Inputs) -> int:
    """Count the topological orders by trying every permutation."""
    total = 0
    for order in permutations(range(len(inputs))):
        place = {node: at for at, node in enumerate(order)}
        total += all(place[s] < place[i] for i, sources in enumerate(inputs) for s in sources)
    return total


def has_hamiltonian_path(inputs: Inputs) -> bool:
    """Look for a path through all nodes by trying every permutation."""
    edges = {(source, node) for node, sources in enumerate(inputs) for source in sources}
    return any(
        all(pair in edges for pair in pairwise(order)) for order in permutations(range(len(inputs)))
    )


@given(seed=st.integers(0, 2**32 - 1), nodes=st.integers(1, 7))
@settings(max_examples=50)
def test_one_order_just_where_there_is_a_hamiltonian_path(seed: int, nodes: int) -> None:
    inputs = random_inputs(Random(seed), nodes)
    unique = count_orders(inputs) == 1
    assert has_hamiltonian_path(inputs) == unique
    assert has_unique_order(inputs) == unique


def test_both_answers_occur() -> None:
    assert has_unique_order([[], [0], [1, 0], [2]])
    assert not has_unique_order([[], [], [0, 1]])


@given(seed=st.integers(0, 2**32 - 1), nodes=st.integers(1, 12))
@settings(max_examples=60)
def test_the_canonical_order_is_topological_and_repeatable(seed: int, nodes: int) -> None:
    rng = Random(seed)
    inputs = random_inputs(rng, nodes)
    signatures = [rng.choice("abc") for _ in range(nodes)]
    order = canonical_order(inputs, signatures)
    place = {node: at for at, node in enumerate(order)}
    assert sorted(order) == list(range(nodes))
    assert all(place[s] < place[i] for i, sources in enumerate(inputs) for s in sources)
    # Listing the chosen order again keeps it.
    listed = [[place[s] for s in inputs[node]] for node in order]
    assert canonical_order(listed, [signatures[node] for node in order]) == list(range(nodes))
