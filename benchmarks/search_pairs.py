"""Test accuracies of two searches on the same targets with the same seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import mean

from json_lines import Record

Pairs = dict[str, list[tuple[float, float]]]
"""Accuracies in percent, first and second search, one pair for each seed, by target."""


def tested(line: Record) -> float:
    """Return the test accuracy in percent of a search's line; 0 where it found no network."""
    found = line["final"]["test"]
    return 100 * mean(found) if found else 0.0


def paired(lines: Iterable[Record], first: str, second: str) -> Pairs:
    """Return the results of two searches wherever both were run."""
    results: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for line in lines:
        results[line["target"]["name"], line["seed"]][line["method"]] = tested(line)
    pairs: Pairs = defaultdict(list)
    for (target, _), by_method in results.items():
        if first in by_method and second in by_method:
            pairs[target].append((by_method[first], by_method[second]))
    return dict(pairs)
