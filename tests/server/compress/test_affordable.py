"""Limits on MACs that follow from a bounded training."""

from __future__ import annotations

import pytest

from archpress_server.compress.affordable import affordable, planned_affordably
from archpress_server.compress.effort import EffortPlan, effort_plan
from archpress_server.compress.types import (
    Budget,
    Effort,
    FieldViolation,
    Method,
    Reason,
    Request,
    RequestError,
)
from archpress_trainer.space.costs import count
from archpress_trainer.training.recipe import Recipe
from tests.trainer.nets import small_net

NET = small_net(32)
MACS = count(NET).macs
RECIPE = Recipe("final", 10, batch_size=16)


def plan(work: float | None) -> EffortPlan:
    return EffortPlan(2, RECIPE, None, RECIPE, final_work_macs=work)


@pytest.mark.parametrize(
    ("budget", "limited"),
    [
        (Budget(max_params=3_000), True),
        (Budget(max_params_ratio=0.5), True),
        (Budget(max_params=3_000, max_macs=MACS), True),
        (Budget(max_params=3_000, max_macs_ratio=0.9), True),
        (Budget(max_params=3_000, max_macs=MACS // 5), False),
        (Budget(max_params=3_000, max_macs_ratio=0.2), False),
        (Budget(max_macs=MACS), False),
        (Budget(max_latency_seconds=1.0), False),
        (Budget(), False),
    ],
)
def test_macs_are_limited_where_parameters_are_and_no_limit_is_lower(
    budget: Budget, limited: bool
) -> None:
    request = Request(NET, "tiny", budget)
    # A hundred images, ten epochs: for a network of half the MACs.
    found = affordable(request, plan(100 * 10 * MACS / 2), 100)
    assert (found is not request) == limited
    if limited:
        assert found.budget.max_macs == MACS // 2
        assert found.budget.max_macs_ratio is None
        assert found.budget.max_params == budget.max_params


def test_without_a_bound_on_work_there_is_none() -> None:
    request = Request(NET, "tiny", Budget(max_params=3_000))
    assert affordable(request, plan(None), 100) is request


def test_what_is_affordable_gets_all_epochs() -> None:
    effort = effort_plan(Effort.DRAFT, Method.DEFAULT, "fashion-mnist", (1, 28, 28))
    most = effort.affordable_macs(54_000)
    assert most is not None
    assert effort.recipe_for(most, 54_000) == effort.final_recipe
    assert effort.recipe_for(2 * most, 54_000).epochs < effort.final_recipe.epochs


@pytest.mark.parametrize("smallest", [MACS // 4, MACS // 2 + 1])
def test_what_nothing_can_afford_is_planned_as_asked(smallest: int) -> None:
    request = Request(NET, "tiny", Budget(max_params=3_000))

    def find(asked: Request) -> Request:
        if asked.budget.max_macs is not None and asked.budget.max_macs < smallest:
            raise RequestError((violation,))
        return asked

    violation = FieldViolation("budget.max_macs", "is too small", Reason.BUDGET_INFEASIBLE)
    found = planned_affordably(request, plan(100 * 10 * MACS / 2), 100, find)
    assert (found is request) == (smallest > MACS // 2)


def test_what_is_infeasible_without_a_bound_is_refused() -> None:
    request = Request(NET, "tiny", Budget(max_params=3_000))

    def find(asked: Request) -> Request:
        raise RequestError((FieldViolation("budget", "is odd", Reason.BUDGET_INFEASIBLE),))

    for work in (None, 100 * 10 * MACS / 2):
        with pytest.raises(RequestError, match="is odd"):
            planned_affordably(request, plan(work), 100, find)
