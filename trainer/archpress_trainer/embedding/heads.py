"""Accuracy heads: an ensemble over hand features, with calibrated intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

_CLIP = 1e-3


@dataclass(frozen=True)
class HeadSettings:
    """How the accuracy heads are fitted."""

    members: int = 8
    hidden: int = 64
    iterations: int = 600
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    folds: int = 5
    coverage: float = 0.9


class AccuracyHeads(nn.Module):
    """Members that each map `(batch, inputs)` to a logit of accuracy; batched as one network.

    Inputs are standardised by stored statistics. `width` scales the spread to the interval that
    held `coverage` of nets that the members had not seen (split conformal prediction), `noise` is
    the spread that the members agree on and yet err by.
    """

    input_mean: torch.Tensor
    input_std: torch.Tensor
    target: torch.Tensor
    calibration: torch.Tensor

    def __init__(self, inputs: int, settings: HeadSettings) -> None:
        """Build the members with independent weights."""
        super().__init__()
        members, hidden = settings.members, settings.hidden
        self.dropout = settings.dropout
        self.first = nn.Parameter(torch.randn(members, inputs, hidden) / inputs**0.5)
        self.first_bias = nn.Parameter(torch.zeros(members, 1, hidden))
        self.second = nn.Parameter(torch.randn(members, hidden, hidden) / hidden**0.5)
        self.second_bias = nn.Parameter(torch.zeros(members, 1, hidden))
        self.last = nn.Parameter(torch.randn(members, hidden, 1) * 0.01)
        self.linear = nn.Parameter(torch.zeros(members, inputs, 1))
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_std", torch.ones(inputs))
        self.register_buffer("target", torch.tensor([0.0, 1.0]))
        self.register_buffer("calibration", torch.tensor([1.0, 1.0]))

    def members_logits(
        self, inputs: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Return each member's logit of accuracy, `(members, batch)`; dropout with a generator."""
        values = (inputs - self.input_mean) / self.input_std
        batch = values.clamp(-4, 4).expand(len(self.first), *values.shape)
        hidden = functional.silu(batch @ self.first + self.first_bias)
        if generator is not None:
            keep = torch.rand(hidden.shape, generator=generator) > self.dropout
            hidden = hidden * keep / (1 - self.dropout)
        hidden = functional.silu(hidden @ self.second + self.second_bias)
        out = (hidden @ self.last + batch @ self.linear).squeeze(-1)
        return out * self.target[1] + self.target[0]

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean logit of accuracy and its calibrated half-width, each `(batch,)`."""
        logits = self.members_logits(inputs)
        width, noise = self.calibration
        spread = (logits.var(dim=0, unbiased=True) + noise**2).sqrt()
        return logits.mean(dim=0), width * spread


@dataclass(frozen=True)
class HeldOut:
    """Predictions for nets by members that had not seen them."""

    accuracy: NDArray[np.float64]
    predicted: NDArray[np.float64]
    covered: float
    """Share of measured accuracies inside intervals calibrated on other nets."""


def accuracy_logit(accuracy: torch.Tensor) -> torch.Tensor:
    """Return the logit of an accuracy, kept finite."""
    return torch.logit(accuracy.clamp(_CLIP, 1 - _CLIP))


def fit_heads(
    inputs: torch.Tensor,
    accuracy: torch.Tensor,
    settings: HeadSettings,
    generator: torch.Generator,
) -> tuple[AccuracyHeads, HeldOut]:
    """Fit the ensemble on all nets; its intervals come from fits that each leave a fold out.

    Args:
        inputs: `(nets, inputs)`.
        accuracy: measured accuracies `(nets,)` in [0, 1].
        settings: how to fit.
        generator: draws folds, initial weights, bags and dropout.
    """
    target = accuracy_logit(accuracy)
    count = len(inputs)
    fold = torch.randperm(count, generator=generator) % settings.folds
    mean, variance = torch.zeros(count), torch.zeros(count)
    for index in range(settings.folds):
        held = fold == index
        heads = _fit(inputs[~held], target[~held], settings, generator)
        with torch.no_grad():
            logits = heads.members_logits(inputs[held])
        mean[held], variance[held] = logits.mean(dim=0), logits.var(dim=0, unbiased=True)
    heads = _fit(inputs, target, settings, generator)
    error = (target - mean).abs()
    # Half of the usual error: the members' own spread adds to it where they disagree.
    noise = error.square().mean().sqrt() / 2
    ratio = error / (variance + noise**2).sqrt()
    heads.calibration.copy_(torch.stack([conformal_quantile(ratio, settings.coverage), noise]))
    half = torch.randperm(count, generator=generator) % 2 == 0
    covered = [
        (ratio[own] <= conformal_quantile(ratio[~own], settings.coverage)).float().mean().item()
        for own in (half, ~half)
    ]
    held_out = HeldOut(
        accuracy.double().numpy(),
        mean.sigmoid().double().numpy(),
        float(np.mean(covered)),
    )
    return heads.eval(), held_out


def _fit(
    inputs: torch.Tensor,
    target: torch.Tensor,
    settings: HeadSettings,
    generator: torch.Generator,
) -> AccuracyHeads:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        heads = AccuracyHeads(inputs.shape[1], settings)
    heads.input_mean.copy_(inputs.mean(dim=0))
    heads.input_std.copy_(inputs.std(dim=0).clamp_min(1e-3))
    heads.target.copy_(torch.stack([target.median(), target.std().clamp_min(1e-3)]))
    # Each member sees its own bag, so that their spread says something about the data.
    bags = torch.randint(len(inputs), (settings.members, len(inputs)), generator=generator)
    weights = torch.stack([torch.bincount(bag, minlength=len(inputs)) for bag in bags]).float()
    optimizer = torch.optim.AdamW(
        heads.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.iterations)
    scale = heads.target[1]
    for _ in range(settings.iterations):
        logits = heads.members_logits(inputs, generator)
        errors = functional.smooth_l1_loss(
            logits / scale, (target / scale).expand_as(logits), reduction="none"
        )
        loss = (errors * weights).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return heads


def conformal_quantile(ratio: torch.Tensor, coverage: float) -> torch.Tensor:
    """Return the conformal quantile, which counts the net to come."""
    rank = min(len(ratio), int(np.ceil((len(ratio) + 1) * coverage)))
    return ratio.sort().values[rank - 1]
