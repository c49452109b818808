"""Step 2, decode: points -> valid architectures within the budget, scored and improved locally.

What is scored is the architecture that would be trained, re-encoded, never the point that it was
decoded from; budgets are checked on exact counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from archpress_server.compress.latency_budget import LatencyLimit
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.neighbours import neighbour
from archpress_trainer.space.widths import SizeBudget, fit_widths

_SNUG = 0.93
"""Share of the budget from which on widths are left as they are."""


@dataclass(frozen=True)
class Scored:
    """An architecture within the budget with exact costs and predicted accuracy."""

    architecture: Architecture
    costs: Costs
    prediction: Prediction


@dataclass(frozen=True)
class LabelledRange:
    """The costs of the labelled nets: beyond them nothing backs a prediction."""

    max_macs: int
    max_activation_bytes: int

    @classmethod
    def of(cls, embedding: Embedding) -> LabelledRange | None:
        """Return the range of an embedding's population, None if it came without one."""
        found = [exemplar.costs for exemplar in embedding.exemplars]
        if not found:
            return None
        return cls(
            max(costs.macs for costs in found), max(costs.peak_activation_bytes for costs in found)
        )

    def holds(self, costs: Costs) -> bool:
        """Return whether costs lie in the range."""
        return (
            costs.macs <= self.max_macs and costs.peak_activation_bytes <= self.max_activation_bytes
        )

    def narrowed(self, budget: SizeBudget) -> SizeBudget:
        """Return a budget that also keeps to the range; one without limits stays without."""
        within = budget.max_macs is not None and budget.max_macs <= self.max_macs
        if within or budget == SizeBudget():
            return budget
        return SizeBudget(budget.max_params, self.max_macs)


@dataclass(frozen=True)
class SearchSettings:
    """How decodes are varied: widths, rounds of local search around the best.

    `fit_widths` scales a decode's widths to the budget; without it a decode is taken or left.
    """

    fit_widths: bool = True
    rounds: int = 10
    parents: int = 12
    children: int = 10


class Pool:
    """Distinct architectures within a budget and the labelled range, scored as they are added."""

    def __init__(
        self,
        embedding: Embedding,
        budget: SizeBudget,
        *,
        fit_widths: bool = True,
        latency: LatencyLimit | None = None,
    ) -> None:
        """Start empty; a limit on latency is kept to by its model."""
        self._embedding = embedding
        self._fit_widths = fit_widths
        self._latency = latency
        self._range = LabelledRange.of(embedding)
        self._budget = budget
        if self._range is not None:
            self._budget = self._range.narrowed(budget)
            if latency is not None and budget == SizeBudget():
                self._budget = SizeBudget(max_macs=self._range.max_macs)
        self._scored: dict[str, Scored] = {}
        self._seen: set[tuple[Architecture, bool]] = set()

    def __len__(self) -> int:
        """Return how many architectures there are."""
        return len(self._scored)

    def add(
        self, architectures: Iterable[Architecture | None], *, as_they_are: bool = False
    ) -> None:
        """Fit each to the budget and add what is new and holds; the rest is passed over."""
        fresh: dict[str, Architecture] = {}
        for architecture in architectures:
            if architecture is None or (architecture, as_they_are) in self._seen:
                continue
            self._seen.add((architecture, as_they_are))
            fitted = architecture if as_they_are else self._fitted(architecture)
            if fitted is None or fitted.digest in self._scored or fitted.digest in fresh:
                continue
            if self._holds(fitted):
                fresh[fitted.digest] = fitted
        predictions = self._embedding.predict([*fresh.values()])
        for (digest, network), prediction in zip(fresh.items(), predictions, strict=True):
            self._scored[digest] = Scored(network, network.costs, prediction)

    def _fitted(self, architecture: Architecture) -> Architecture | None:
        latency = self._latency
        used = self._budget.used(architecture.costs)
        if latency is not None:
            used = max(used, latency.used(architecture))
        snug = self._budget.holds(architecture.costs) and _SNUG <= used <= 1
        if snug or not self._fit_widths:
            return architecture
        if latency is not None:
            return latency.fit_widths(architecture, self._budget)
        return fit_widths(architecture, self._budget)

    def _holds(self, architecture: Architecture) -> bool:
        near = self._range is None or self._range.holds(architecture.costs)
        inside = self._embedding.manifest.space.contains(architecture)
        if not (near and inside and self._budget.holds(architecture.costs)):
            return False
        return self._latency is None or self._latency.holds(architecture)

    def best(self, count: int) -> list[Scored]:
        """Return the architectures of the highest lower bounds, best first."""
        return sorted(
            self._scored.values(), key=lambda s: (-s.prediction.lower, s.architecture.digest)
        )[:count]

    def of(self, architectures: Iterable[Architecture]) -> list[Scored]:
        """Add architectures as they are and return those that hold."""
        architectures = list(architectures)
        self.add(architectures, as_they_are=True)
        digests = [architecture.digest for architecture in architectures]
        return [self._scored[digest] for digest in digests if digest in self._scored]

    def all(self) -> list[Scored]:
        """Return every architecture."""
        return list(self._scored.values())


def search_nearby(
    embedding: Embedding,
    pool: Pool,
    settings: SearchSettings,
    rng: Random,
    *,
    ranked: Callable[[], list[Scored]] | None = None,
    on_round: Callable[[int], None] | None = None,
) -> None:
    """Add small changes of the pool's first architectures, round by round.

    They are the first by `ranked`, where it is given, else those of the highest lower bounds.
    """
    space = embedding.manifest.space
    for index in range(settings.rounds):
        parents = pool.best(settings.parents) if ranked is None else ranked()[: settings.parents]
        pool.add(
            neighbour(parent.architecture, space, rng)
            for parent in parents
            for _ in range(settings.children)
        )
        if on_round is not None:
            on_round(index + 1)


def diverse(ranked: list[Scored], count: int) -> list[Scored]:
    """Return `count` of the ranked architectures, at most one per outline while others remain.

    The outline is the list of layer kinds, kernels, strides and inputs: nets that differ in widths
    only would waste the trainings that tell candidates apart.
    """
    chosen: list[Scored] = []
    rest: list[Scored] = []
    seen: set[tuple[tuple[int, int, int, bool, tuple[int, ...]], ...]] = set()
    for scored in ranked:
        if len(chosen) == count:
            break
        outline = tuple(
            (la.kind, la.kernel, la.stride, la.groups > 1, la.inputs)
            for la in scored.architecture.layers
        )
        (rest if outline in seen else chosen).append(scored)
        seen.add(outline)
    return (chosen + rest)[:count]
