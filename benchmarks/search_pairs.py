"""Test accuracies of two searches on the same targets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean

from json_lines import Record
from scipy.stats import wilcoxon


@dataclass(frozen=True)
class Pair:
    """What two ways reached on one target: test accuracies in percent, one for each search."""

    first: tuple[float, ...]
    second: tuple[float, ...]

    @property
    def difference(self) -> float:
        """By how many points the first is ahead in the mean."""
        return mean(self.first) - mean(self.second)


def tested(line: Record) -> float:
    """Return the test accuracy in percent of a search's line; 0 where it found no network."""
    found = line["final"]["test"]
    return 100 * mean(found) if found else 0.0


def paired(lines: Iterable[Record], first: str, second: str) -> dict[str, Pair]:
    """Return what two ways reached, by target, wherever both were run."""
    results: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        results[line["target"]["name"]][line["method"]].append(tested(line))
    return {
        target: Pair(tuple(ways[first]), tuple(ways[second]))
        for target, ways in results.items()
        if first in ways and second in ways
    }


def ahead(differences: Iterable[float]) -> float:
    """Return the p-value of a paired one-sided test over targets (Wilcoxon): the first is ahead."""
    found = wilcoxon(list(differences), alternative="greater", zero_method="zsplit")
    return float(found.pvalue)
