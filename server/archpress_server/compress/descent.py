"""Step 1, descend: gradient steps in the embedding on the compression objective (eq. 16-18)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from archpress_server.compress.types import Waypoint
from archpress_trainer.embedding.interface import Embedding, PointPrediction
from archpress_trainer.space.widths import SizeBudget


@dataclass(frozen=True)
class DescentSettings:
    """How descent walks.

    `cost_weight` is the paper's lambda of eq. 17: per squared unit of log cost above a limit.
    `caution` weighs the uncertainty that is subtracted from the predicted accuracy.
    """

    steps: int = 12
    learning_rate: float = 0.15
    cost_weight: float = 2.0
    caution: float = 0.5


@dataclass(frozen=True)
class Descent:
    """Where descent ended.

    `points` `(kept starts, dimensions)`; `lost` the number of starts whose objective or gradient
    became not-a-number and that were given up.
    """

    points: torch.Tensor
    lost: int


def descend(
    embedding: Embedding,
    starts: torch.Tensor,
    budget: SizeBudget,
    settings: DescentSettings,
    *,
    cost_pull: torch.Tensor | None = None,
    on_step: Callable[[int, float, Waypoint | None], None] | None = None,
) -> Descent:
    """Move every start down the objective at once.

    The objective of a point is the cost of its predicted accuracy against 1, minus caution times
    the uncertainty (eq. 16, 17 with a0 = 1), plus the squared log excess over each limit of the
    budget (eq. 17).

    Args:
        embedding: predicts accuracy and costs with gradients.
        starts: `(starts, dimensions)`.
        budget: limits on parameters and MACs.
        settings: step count and weights.
        cost_pull: without a limit, the weight of each start on its log parameters, `(starts,)`
            (lambda of eq. 16).
        on_step: told of each step, with the mean objective and where the starts were before it,
            if that is a number.
    """
    points = starts.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([points], lr=settings.learning_rate)
    lost = torch.zeros(len(starts), dtype=torch.bool)
    for step in range(settings.steps):
        predicted = embedding.at(points)
        values = _objective(predicted, budget, settings, cost_pull)
        finite = values.isfinite()
        lost |= ~finite
        optimizer.zero_grad(set_to_none=True)
        # Starts are independent: a broken one must not stop the others.
        values[finite].sum().backward()
        if points.grad is not None:
            lost |= ~points.grad.isfinite().all(dim=1)
            points.grad.nan_to_num_(0.0, 0.0, 0.0)
        optimizer.step()
        if on_step is not None:
            mean = values[finite].mean().item() if bool(finite.any()) else math.nan
            on_step(step + 1, mean, _waypoint(predicted))
    with torch.no_grad():
        kept = _objective(embedding.at(points), budget, settings, cost_pull).isfinite() & ~lost
        result = points.detach()[kept]
    return Descent(result, int((~kept).sum()))


def _objective(
    predicted: PointPrediction,
    budget: SizeBudget,
    settings: DescentSettings,
    cost_pull: torch.Tensor | None,
) -> torch.Tensor:
    cautious = predicted.accuracy - settings.caution * predicted.uncertainty
    values = functional.softplus(-cautious)
    limits = (
        (budget.max_params, predicted.log_params),
        (budget.max_macs, predicted.log_macs),
    )
    for limit, log_cost in limits:
        if limit is not None and log_cost is not None:
            excess = (log_cost - math.log(limit)).clamp_min(0)
            values = values + settings.cost_weight * excess.square()
    if cost_pull is not None:
        values = values + cost_pull * predicted.log_params
    return values


def _waypoint(predicted: PointPrediction) -> Waypoint | None:
    accuracy = predicted.accuracy.detach().nanmedian().sigmoid().item()
    params = predicted.log_params.detach().nanmedian().exp().item()
    return Waypoint(accuracy, params) if math.isfinite(accuracy + params) else None
