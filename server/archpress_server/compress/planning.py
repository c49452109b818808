"""From a request to ranked candidates, without training: starts, descent, decoding, ranking."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import numpy as np
import torch

from archpress_server.compress.checks import check_request, size_budget, smallest_networks
from archpress_server.compress.decode import (
    LabelledRange,
    Pool,
    Scored,
    SearchSettings,
    decode_points,
    diverse,
    search_nearby,
)
from archpress_server.compress.descent import DescentSettings, descend
from archpress_server.compress.types import Candidate, Method, Phase, Plan, Progress, Request
from archpress_trainer.embedding.codec import OutsideSpaceError
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.costs import Costs, count
from archpress_trainer.space.widths import SizeBudget

_TOLERATED_LOSS = 0.002
"""Predicted accuracy that a search without a budget may give up against the input network."""


@dataclass(frozen=True)
class PlanSettings:
    """How wide a search is."""

    starts: int = 48
    descent: DescentSettings = field(default_factory=DescentSettings)
    search: SearchSettings = field(default_factory=SearchSettings)


PAPER_SETTINGS = PlanSettings(
    starts=1,
    descent=DescentSettings(caution=0.0, trust_weight=0.0),
    search=SearchSettings(fit_widths=False, draws=0, rounds=0, parents=0, children=0),
)
"""The paper's search: descent from the input network alone, one decode as it is (algorithm 1).

Its step rule is not given beyond eq. 18; ours is Adam's.
"""

_COST_PULLS = (1.0, 0.01)
"""Weights on log parameters, from the first start to the last, of a search without a budget."""

_NOISE = 0.3
"""Standard deviation of the noise that makes further starts of known points."""

_GRACE = 1.1
"""How far over the budget a net of the population may be and still be a start."""


def plan(
    request: Request,
    embedding: Embedding,
    max_candidates: int,
    *,
    settings: PlanSettings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Plan:
    """Return candidates for a request, best first, all valid and within the hard budgets.

    Raises:
        RequestError: the request is invalid or infeasible.
    """
    started = time.perf_counter()
    check_request(request, embedding.manifest)
    report = on_progress or (lambda _: None)
    if settings is None:
        settings = PAPER_SETTINGS if request.method is Method.PAPER else PlanSettings()
    before = count(request.architecture)
    budget = size_budget(request.budget, before)
    generator = torch.Generator().manual_seed(request.seed % 2**63)
    starts, warnings = _starts(request, embedding, budget, settings.starts, generator)
    unbounded = budget == SizeBudget()
    first, last = (math.log10(pull) for pull in _COST_PULLS)
    pull = torch.logspace(first, last, len(starts)) if unbounded else None
    total = settings.descent.steps
    descent = descend(
        embedding,
        starts,
        budget,
        settings.descent,
        cost_pull=pull,
        on_step=lambda step, loss: report(Progress(Phase.DESCEND, step, total, loss=loss)),
    )
    if descent.lost:
        warnings.append(f"{descent.lost} of {len(starts)} descents were given up (not a number)")
    pool = Pool(embedding, budget, fit_widths=settings.search.fit_widths)
    warnings += _range_warnings(embedding, budget, before)
    rounds = settings.search.rounds + 1
    decode_points(
        embedding, descent.points, pool, settings.search, np.random.default_rng(request.seed)
    )
    report(Progress(Phase.DECODE, 1, rounds))
    if not len(pool):
        # Whatever descent found, a feasible budget has an answer.
        warnings.append(
            "no decode was valid and in the budget; the search starts from the smallest"
        )
        pool.add(smallest_networks(embedding.manifest.space))
    search_nearby(
        embedding,
        pool,
        settings.search,
        Random(request.seed),
        on_round=lambda index: report(Progress(Phase.DECODE, index + 1, rounds)),
    )
    if unbounded:
        ranked = _smallest_as_good(pool, request, embedding, before)
    else:
        ranked = pool.best(len(pool))
    chosen = diverse(ranked, max_candidates)
    return Plan(
        costs_before=before,
        candidates=tuple(
            Candidate(s.architecture, s.costs, s.prediction, rank)
            for rank, s in enumerate(chosen, start=1)
        ),
        embedding=embedding.manifest.name,
        seconds=time.perf_counter() - started,
        warnings=tuple(warnings),
    )


def _starts(
    request: Request,
    embedding: Embedding,
    budget: SizeBudget,
    number: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, list[str]]:
    """Return points to descend from: the input, the population's best, and noise around both."""
    warnings: list[str] = []
    points: list[torch.Tensor] = []
    try:
        points.append(embedding.encode([request.architecture]))
        outside = embedding.manifest.space.violations(request.architecture)
        if outside:
            warnings.append(f"the input network lies outside the embedding's space: {outside[0]}")
    except OutsideSpaceError as error:
        warnings.append(
            f"the input network cannot be encoded ({error}); descent starts from the population"
        )
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


def _smallest_as_good(
    pool: Pool, request: Request, embedding: Embedding, before: Costs
) -> list[Scored]:
    """Return the pool by size, those first that are predicted to be as good as the input.

    Networks larger than the input are left out while there are others.
    """
    try:
        bar = embedding.predict([request.architecture])[0].accuracy - _TOLERATED_LOSS
    except OutsideSpaceError:
        bar = max(scored.prediction.accuracy for scored in pool.all()) - _TOLERATED_LOSS
    smaller = [s for s in pool.best(len(pool)) if s.costs.params <= before.params]
    found = smaller or pool.best(len(pool))
    good = [scored for scored in found if scored.prediction.accuracy >= bar]
    good.sort(key=lambda scored: (scored.costs.params, scored.architecture.digest))
    return good + [scored for scored in found if scored.prediction.accuracy < bar]
