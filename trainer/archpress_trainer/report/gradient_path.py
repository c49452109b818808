"""A plain gradient path through the embedding, for drawing: not the descent of the compression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.one_thread import one_thread
from archpress_trainer.report.scales import Floats


@dataclass(frozen=True)
class PathSettings:
    """How the path walks.

    `size_weight` is the paper's lambda of eq. 16, on the logarithm of the parameters;
    `stride` is the first step's length as a share of the population's spread, and the steps
    shrink evenly to nothing.
    """

    steps: int = 40
    size_weight: float = 2.0
    stride: float = 0.1


@dataclass(frozen=True)
class GradientPath:
    """Points `(steps + 1, dimensions)` with predicted accuracy and parameters `(steps + 1,)`."""

    points: Floats
    accuracy: Floats
    params: Floats


def plain_gradient_paths(
    embedding: Embedding, starts: Floats, spread: float, settings: PathSettings
) -> list[GradientPath]:
    """Return steps against the gradient of eq. 16 from points; no budget.

    A path stays where its gradient vanishes or is not finite.

    Args:
        embedding: predicts accuracy and costs with gradients.
        starts: `(starts, dimensions)`.
        spread: typical distance of a net from the middle of the population.
        settings: step count and weights.
    """
    points = torch.from_numpy(starts).float()
    places, accuracies, sizes = [], [], []
    with one_thread():
        for step in range(settings.steps + 1):
            points.requires_grad_(True)
            predicted = embedding.at(points)
            places.append(points.detach())
            accuracies.append(predicted.accuracy.detach().sigmoid())
            sizes.append(predicted.log_params.detach().exp())
            objective = functional.softplus(-predicted.accuracy)
            objective = objective + settings.size_weight * predicted.log_params
            (gradient,) = torch.autograd.grad(objective.sum(), points)
            norm = gradient.norm(dim=1, keepdim=True)
            direction = (gradient / norm).nan_to_num(0.0, 0.0, 0.0)
            length = settings.stride * spread * (1 - step / settings.steps)
            points = points.detach() - length * direction
    along = [torch.stack(values, dim=1).double().numpy() for values in (places, accuracies, sizes)]
    return [GradientPath(*path) for path in zip(*along, strict=True)]
