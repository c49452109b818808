"""The heir: the input network with narrower layers, which starts from its trained weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from archpress_server.compress.heir_widths import best_widths
from archpress_server.compress.latency_budget import LatencyLimit
from archpress_server.compress.types import Candidate, Method, Request
from archpress_trainer.embedding.codec import OutsideSpaceError
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.width_costs import WidthCosts
from archpress_trainer.space.width_groups import WidthGroups
from archpress_trainer.space.widths import SizeBudget, fit_widths
from archpress_trainer.training.inheritance import can_narrow

_MULTIPLE = 4
"""Widths of heirs are multiples of this: by eights the narrowest layers get too much."""


def find_heir(
    request: Request,
    embedding: Embedding,
    budget: SizeBudget,
    limit: LatencyLimit | None,
    rank: int,
) -> Candidate | None:
    """Return the input network narrowed to the limits, as the last candidate.

    None where it keeps to the limits as it is, no widths do, or the method is the paper's. Of the
    widths that cost no more than those that are scaled alike, it has the best by prediction; where
    the embedding cannot read the network, they are scaled alike and nothing is predicted.

    Args:
        request: checked.
        embedding: predicts it, as a network that is trained from scratch.
        budget: the request's limits on size.
        limit: the request's limit on latency.
        rank: its place among the candidates.
    """
    wide = request.architecture
    if request.method is Method.PAPER or not can_narrow(wide):
        return None
    if budget.holds(count(wide)) and (limit is None or limit.holds(wide)):
        return None
    even = _even(wide, budget, limit)
    if even is None:
        return None
    most = WidthGroups(wide).widths
    fits = _limits(even, budget, limit)
    rng = Random(request.seed)
    try:
        narrow, prediction = best_widths(even, most, fits, embedding, rng, multiple=_MULTIPLE)
    except OutsideSpaceError:
        return Candidate(even, count(even), None, rank, inherits=True)
    return Candidate(narrow, count(narrow), prediction, rank, inherits=True)


def _even(
    wide: Architecture, budget: SizeBudget, limit: LatencyLimit | None
) -> Architecture | None:
    smallest = min([_MULTIPLE, *WidthGroups(wide).widths])
    fit = fit_widths if limit is None else limit.fit_widths
    return fit(wide, budget, multiple=_MULTIPLE, smallest=smallest, max_scale=1.0)


def _limits(
    even: Architecture, budget: SizeBudget, limit: LatencyLimit | None
) -> Callable[[Sequence[int]], bool]:
    """Return whether widths keep to the limits and take no more MACs than those scaled alike."""
    groups = WidthGroups(even)
    costs_at = WidthCosts(groups)
    seconds_at = None if limit is None else limit.at_widths(groups)
    allowed = SizeBudget(budget.max_params, count(even).macs)

    def fits(widths: Sequence[int]) -> bool:
        costs = costs_at(widths)
        if costs is None or not allowed.allows(*costs):
            return False
        return seconds_at is None or seconds_at(widths)

    return fits
