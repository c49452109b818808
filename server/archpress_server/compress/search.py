"""`Search`: from a request to ranked networks: starts, descent, decoding, what is near the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import torch

from archpress_server.compress.batch import best_together
from archpress_server.compress.checks import size_budget
from archpress_server.compress.decode import (
    LabelledRange,
    Pool,
    Scored,
    SearchSettings,
    diverse,
    search_nearby,
)
from archpress_server.compress.descent import DescentSettings, descend
from archpress_server.compress.latency_budget import LatencyLimit
from archpress_server.compress.outlying import nearest, outlying
from archpress_server.compress.small_networks import fastest_networks, smallest_networks
from archpress_server.compress.types import Method, Phase, Progress, Request
from archpress_server.compress.unbounded import SmallestGood
from archpress_trainer.embedding.codec import OutsideSpaceError
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.costs import Costs, count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.reading_form import reading_form
from archpress_trainer.space.widths import SizeBudget


@dataclass(frozen=True)
class PlanSettings:
    """How wide a search is; of the population its `known` best join it, fitted to the budget.

    With `together` candidates are chosen for the best of them, else each for itself. With
    `smallest` a search that found nothing goes on from the smallest networks of the space.
    """

    starts: int = 12
    known: int = 200
    together: bool = True
    smallest: bool = True
    descent: DescentSettings = field(default_factory=DescentSettings)
    search: SearchSettings = field(default_factory=SearchSettings)


PAPER_SETTINGS = PlanSettings(
    starts=1,
    known=0,
    together=False,
    smallest=False,
    descent=DescentSettings(steps=100, caution=0.0),
    search=SearchSettings(fit_widths=False, rounds=0, parents=0, children=0),
)
"""The paper's search: descent from the input network alone, one decode as it is (algorithm 1).

Its step rule and its number of steps are not given beyond eq. 18; ours are Adam's, and a hundred.
The terms of its objective are ours too: a log-likelihood and a squared excess of log costs where
eq. 13 and 14 have absolute differences.
"""

_COST_PULLS = (1.0, 0.01)
"""Weights on log parameters, from the first start to the last, of a search without a budget."""

_NOISE = 0.3
"""Standard deviation of the noise that makes further starts of known points."""

_GRACE = 1.1
"""How far over the budget a net of the population may be and still be a start."""


class Search:
    """What was found for a request so far, best first on demand.

    `run` fills the pool: descent from many starts, decodes, the population's best, changes of the
    best. `propose` never names a network twice.
    """

    def __init__(
        self,
        request: Request,
        embedding: Embedding,
        settings: PlanSettings | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        latency: LatencyLimit | None = None,
        train_images: int | None = None,
        proposed: frozenset[str] = frozenset(),
    ) -> None:
        """Prepare; the request has been checked, `latency` is its limit on that.

        `train_images` are those of the final training, where they are known, `proposed` the digests
        of networks that others have proposed.
        """
        by_method = PAPER_SETTINGS if request.method is Method.PAPER else PlanSettings()
        self.settings = settings or by_method
        self.costs_before = count(request.architecture)
        self._input = reading_form(request.architecture)
        self.warnings: list[str] = []
        self._request = request
        self._embedding = embedding
        self._report = on_progress or (lambda _: None)
        self._budget = size_budget(request.budget, self.costs_before)
        self._latency = latency
        self._descended_to = self._budget
        if latency is not None:
            self._descended_to = latency.implied(self._budget, embedding.exemplars)
        self._pool = Pool(
            embedding,
            self._budget,
            fit_widths=self.settings.search.fit_widths,
            latency=latency,
        )
        self._by_size: SmallestGood | None = None
        if self._unbounded:
            self._by_size = SmallestGood(request, embedding, train_images)
        self._proposed = set(proposed)

    def run(self) -> None:
        """Fill the pool, in which a feasible budget then has an answer, unless not `smallest`."""
        points = self._descended()
        far = outlying(self._input, self.costs_before, self._embedding)
        self.warnings += [] if far is None else [far]
        self.warnings += _range_warnings(self._embedding, self._descended_to, self.costs_before)
        self._pool.add(self._embedding.decode(points))
        known = sorted(self._embedding.exemplars, key=lambda exemplar: -exemplar.accuracy)
        self._pool.add(exemplar.architecture for exemplar in known[: self.settings.known])
        rounds = self.settings.search.rounds + 1
        self._report(Progress(Phase.DECODE, 1, rounds))
        if not len(self._pool) and not self.settings.smallest:
            self.warnings.append("no decode was valid and in the budget")
        elif not len(self._pool):
            self.warnings.append(
                "no decode was valid and in the budget; the search starts from the smallest"
            )
            space = self._embedding.manifest.space
            self._pool.add(smallest_networks(space))
            if self._latency is not None:
                self._pool.of(fastest_networks(space, self._latency.model))
        if self._unbounded and self.settings.smallest and not self._smaller():
            self._pool.add(smallest_networks(self._embedding.manifest.space))
        search_nearby(
            self._embedding,
            self._pool,
            self.settings.search,
            Random(self._request.seed),
            ranked=self._ranked,
            on_round=lambda index: self._report(Progress(Phase.DECODE, index + 1, rounds)),
        )

    def propose(self, number: int, within: LatencyLimit | None = None) -> list[Scored]:
        """Return the best networks that were not proposed yet, as different as is worth it.

        They also keep to `within` by its model, where it is given.
        """
        fresh = [s for s in self._ranked() if s.architecture.digest not in self._proposed]
        if within is not None:
            fresh = [scored for scored in fresh if within.holds(scored.architecture)]
        if self.settings.together and not self._unbounded:
            chosen = best_together(fresh, number, self._embedding.draw, self._request.seed)
        else:
            chosen = diverse(fresh, number)
        self._proposed.update(scored.architecture.digest for scored in chosen)
        return chosen

    def scored(self, architectures: list[Architecture]) -> list[Scored]:
        """Return those of some architectures that the budget allows and nobody has proposed."""
        found = self._pool.of(architectures)
        return [scored for scored in found if scored.architecture.digest not in self._proposed]

    def _descended(self) -> torch.Tensor:
        settings = self.settings
        generator = torch.Generator().manual_seed(self._request.seed % 2**63)
        starts, warnings = _starts(
            self._input, self._embedding, self._descended_to, settings.starts, generator
        )
        self.warnings += warnings
        first, last = (math.log10(pull) for pull in _COST_PULLS)
        pull = torch.logspace(first, last, len(starts)) if self._unbounded else None
        total = settings.descent.steps
        descent = descend(
            self._embedding,
            starts,
            self._descended_to,
            settings.descent,
            cost_pull=pull,
            on_step=lambda step, loss, waypoint: self._report(
                Progress(Phase.DESCEND, step, total, loss=loss, waypoint=waypoint)
            ),
        )
        if descent.lost:
            self.warnings.append(
                f"{descent.lost} of {len(starts)} descents were given up (not a number)"
            )
        return descent.points

    @property
    def _unbounded(self) -> bool:
        return self._budget == SizeBudget() and self._latency is None

    def _smaller(self) -> bool:
        """Return whether some network found is no larger than the input."""
        most = self.costs_before.params
        return any(scored.costs.params <= most for scored in self._pool.all())

    def _ranked(self) -> list[Scored]:
        best = self._pool.best(len(self._pool))
        return best if self._by_size is None else self._by_size.ranked(best)


def _starts(
    architecture: Architecture,
    embedding: Embedding,
    budget: SizeBudget,
    number: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, list[str]]:
    """Return points to descend from: the input, the population's best, and noise around both."""
    warnings: list[str] = []
    points: list[torch.Tensor] = []
    try:
        points.append(embedding.encode([architecture]))
        outside = embedding.manifest.space.violations(architecture)
        if outside:
            warnings.append(f"the input network lies outside the embedding's space: {outside[0]}")
    except OutsideSpaceError as error:
        warnings.append(
            f"the input network cannot be encoded ({error}); descent starts from the population"
        )
        if embedding.exemplars:
            points.append(embedding.encode([nearest(architecture, embedding.exemplars)]))
    wanted = number - len(points)
    if wanted > 0 or not points:
        near = sorted(
            embedding.exemplars,
            key=lambda exemplar: -exemplar.accuracy - _within(exemplar.costs, budget),
        )
        best = [exemplar.architecture for exemplar in near[: max(1, wanted // 2)]]
        if best:
            points.append(embedding.encode(best))
    known = torch.cat(points) if points else torch.zeros(1, embedding.dimensions)
    missing = max(0, number - len(known))
    if missing:
        around = known[torch.randint(len(known), (missing,), generator=generator)]
        noise = torch.randn(missing, embedding.dimensions, generator=generator)
        known = torch.cat([known, around + _NOISE * noise])
    return known[:number], warnings


def _within(costs: Costs, budget: SizeBudget) -> float:
    """Return 1 for costs that keep to a budget with some grace, else 0."""
    loose = SizeBudget(
        budget.max_params and int(budget.max_params * _GRACE),
        budget.max_macs and int(budget.max_macs * _GRACE),
    )
    return float(loose.holds(costs))


def _range_warnings(embedding: Embedding, budget: SizeBudget, before: Costs) -> list[str]:
    """Say where the population's costs bind the search more than the caller does."""
    labelled = LabelledRange.of(embedding)
    allowed = before.macs if budget.max_macs is None else min(before.macs, budget.max_macs)
    if labelled is None or allowed <= labelled.max_macs:
        return []
    return [
        f"candidates have at most {labelled.max_macs} MACs and {labelled.max_activation_bytes} "
        "bytes of activations, since no larger network was labelled"
    ]
