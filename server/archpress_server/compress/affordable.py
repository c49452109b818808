"""A limit on MACs so that a bounded training keeps all its epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from archpress_server.compress.checks import size_budget
from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.types import Request, RequestError
from archpress_trainer.space.costs import count

_Found = TypeVar("_Found")


def planned_affordably(
    request: Request, effort: EffortPlan, images: int, find: Callable[[Request], _Found]
) -> _Found:
    """Return what is found for the request's `affordable` form, or if that is infeasible for it.

    Args:
        request: checked or not.
        effort: whose final training it is.
        images: number of training images.
        find: a search.

    Raises:
        RequestError: the request is invalid or infeasible.
    """
    preferred = affordable(request, effort, images)
    try:
        return find(preferred)
    except RequestError:
        if preferred is request:
            raise
    return find(request)


def affordable(request: Request, effort: EffortPlan, images: int) -> Request:
    """Return a request for networks that the effort can train for all epochs of its recipe.

    Of equally many parameters, networks of more MACs are predicted to be better, but where the work
    is bounded they get fewer epochs, which cost ResNet-20 more than the MACs brought (ADR 29). It
    is the same request where the effort has no bound, the limits imply this one, or parameters have
    none.

    Args:
        request: checked or not.
        effort: whose final training it is.
        images: number of training images.
    """
    most = effort.affordable_macs(images)
    limits = size_budget(request.budget, count(request.architecture))
    if most is None or limits.max_params is None:
        return request
    if limits.max_macs is not None and limits.max_macs <= most:
        return request
    return replace(request, budget=replace(request.budget, max_macs=most, max_macs_ratio=None))
