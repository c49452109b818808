"""The optimizer of a recipe, its learning rate at each step, and averaged weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from archpress_trainer.training.recipe import Optimizer, Recipe, Schedule


class Rates:
    """An optimizer together with the schedule of its learning rate."""

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device) -> None:
        """Build the optimizer for the network's parameters, which are on the device."""
        # A graph of the GPU reads the rate from memory, so there it is a tensor.
        graphed = device.type == "cuda"
        rate = torch.tensor(recipe.learning_rate, device=device) if graphed else None
        self._recipe = recipe
        self.optimizer = _optimizer(network, recipe, rate)

    def set(self, step: int, total_steps: int, steps_per_epoch: int) -> None:
        """Set the rate of a step, counted from 0."""
        rate = _learning_rate(self._recipe, step, total_steps, steps_per_epoch)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


_SHARE_OF_STEPS = 1 / 40
"""The longest memory of averaged weights, as a share of all steps.

With a longer one, weights from before the learning rate fell are still in the average at the end.
"""


class AveragedWeights:
    """An exponential moving average of a network's weights and running statistics.

    `torch.optim.swa_utils.AveragedModel` does the same, but asks the CPU at every step, which a
    graph of the GPU cannot.
    """

    def __init__(self, network: nn.Module, decay: float, total_steps: int) -> None:
        """Start from the weights as they are; few steps make the decay faster."""
        self.network = deepcopy(network)
        fastest = 1 / max(1.0, _SHARE_OF_STEPS * total_steps)
        self._decay = min(decay, 1 - fastest)
        self._pairs = [
            (own, theirs)
            for own, theirs in zip(
                self.network.state_dict().values(), network.state_dict().values(), strict=True
            )
            if own.is_floating_point()
        ]

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the network's present weights."""
        own, theirs = ([pair[side] for pair in self._pairs] for side in (0, 1))
        torch._foreach_lerp_(own, theirs, 1 - self._decay)


def _optimizer(
    network: nn.Module, recipe: Recipe, rate: torch.Tensor | None
) -> torch.optim.Optimizer:
    lr, fused = (recipe.learning_rate, None) if rate is None else (rate, True)
    if recipe.optimizer is Optimizer.ADAM:
        return torch.optim.Adam(
            network.parameters(),
            lr=lr,
            weight_decay=recipe.weight_decay,
            fused=fused,
            capturable=rate is not None,
        )
    # Decay pulls on weights only: shrinking a norm's scale or a bias changes what it means.
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return torch.optim.SGD(
        [
            {"params": weights, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=lr,
        momentum=recipe.momentum,
        nesterov=True,
        fused=fused,
    )


def _learning_rate(recipe: Recipe, step: int, total_steps: int, steps_per_epoch: int) -> float:
    if recipe.schedule is Schedule.STEPS:
        passed = sum(step >= milestone * steps_per_epoch for milestone in recipe.milestones)
        return float(recipe.learning_rate * 0.1**passed)
    warmup = recipe.warmup_fraction * total_steps
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    return recipe.learning_rate * max(1e-3, (total_steps - step) / (total_steps - warmup))
