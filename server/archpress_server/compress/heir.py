"""The heir: the input network with narrower layers, which starts from its trained weights."""

from __future__ import annotations

from dataclasses import replace

from archpress_server.compress.latency import untrained_seconds
from archpress_server.compress.latency_budget import LatencyLimit
from archpress_server.compress.types import Candidate, Method, Request
from archpress_trainer.embedding.codec import OutsideSpaceError
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.batch_norms import with_batch_norms
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.reading_form import reading_form
from archpress_trainer.space.width_groups import WidthGroups
from archpress_trainer.space.widths import SizeBudget, fit_widths
from archpress_trainer.training.inheritance import can_narrow

_MEASURED = 4
"""Most widths that are measured before it is given up."""

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

    It is `with_batch_norms`, without which our recipe's rates may end at chance. None where
    the input keeps to the limits as it is, no widths do, a table of latencies does not know its
    layers, or the method is the paper's.

    Args:
        request: checked.
        embedding: predicts it, as a network that is trained from scratch, if it can read it.
        budget: the request's limits on size.
        limit: the request's limit on latency.
        rank: its place among the candidates.
    """
    wide = request.architecture
    if request.method is Method.PAPER or not can_narrow(wide):
        return None
    normed = with_batch_norms(wide)
    if limit is not None and limit.unlisted(normed):
        return None
    if budget.holds(count(wide)) and (limit is None or _keeps(wide, limit)):
        return None
    narrow = _narrow(normed, budget, limit)
    if narrow is None:
        return None
    return Candidate(narrow, count(narrow), _predicted(narrow, embedding), rank, inherits=True)


def heir_warnings(request: Request, limit: LatencyLimit | None) -> list[str]:
    """Say which of the input network's layers a table of latencies does not know."""
    if request.method is Method.PAPER or limit is None:
        return []
    unlisted = limit.unlisted(with_batch_norms(request.architecture))
    if not unlisted:
        return []
    return [
        "the input network is not narrowed for a candidate: latency_table has no row for "
        + ", ".join(unlisted)
    ]


def heir_widths(wide: Architecture, budget: SizeBudget) -> Architecture | None:
    """Return the network with the widths of an heir that keeps to a budget; None if none do."""
    return fit_widths(wide, budget, multiple=_MULTIPLE, smallest=_smallest(wide), max_scale=1.0)


def _smallest(wide: Architecture) -> int:
    return min([_MULTIPLE, *WidthGroups(wide).widths])


def _narrow(
    wide: Architecture, budget: SizeBudget, limit: LatencyLimit | None
) -> Architecture | None:
    """Return the network narrowed to the limits, as measured where a model is not exact."""
    if limit is None:
        return heir_widths(wide, budget)
    smallest = _smallest(wide)
    most, screen = limit.limit_seconds, limit
    for _ in range(_MEASURED):
        narrow = screen.fit_widths(
            wide, budget, multiple=_MULTIPLE, smallest=smallest, max_scale=1.0
        )
        if narrow is None:
            return None
        seconds = _seconds(narrow, limit)
        if seconds <= most:
            return narrow
        # Less than the screen where it is the input's widths or the budget that bind.
        used = min(screen.limit_seconds, limit.seconds(narrow))
        screen = replace(screen, limit_seconds=used * most / seconds)
    return None


def _keeps(network: Architecture, limit: LatencyLimit) -> bool:
    return limit.holds(network) and _seconds(network, limit) <= limit.limit_seconds


def _seconds(network: Architecture, limit: LatencyLimit) -> float:
    """Return a network's seconds by the limit's model where it is exact, else as measured."""
    if limit.exact:
        return limit.seconds(network)
    return untrained_seconds(network, limit.limit_seconds)


def _predicted(network: Architecture, embedding: Embedding) -> Prediction | None:
    try:
        (prediction,) = embedding.predict([reading_form(network)])
    except OutsideSpaceError:
        return None
    return prediction
