"""Accuracy heads: a Gaussian process over hand features, with calibrated intervals.

The process predicts the normal score of a net (its rank in the population, as a standard normal
number), since a handful of nets that learn nothing would rule any scale of accuracies; a `Warp`
leads back to accuracies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from archpress_trainer.embedding.warp import Warp, normal_scores

_CLIP = 1e-3
_JITTER = 1e-4
_HYPERPARAMETERS = ("log_scales", "log_length", "log_signal", "log_linear", "log_noise")


@dataclass(frozen=True)
class HeadSettings:
    """How the accuracy heads are fitted.

    `scale_prior` holds the relevance of single inputs together (the weight of the squared log of
    each), `fit_nets` is the most nets that the kernel is chosen on; predictions rest on all.
    """

    iterations: int = 150
    learning_rate: float = 0.05
    scale_prior: float = 5.0
    knots: int = 17
    fit_nets: int = 1_500
    folds: int = 5
    coverage: float = 0.9


class AccuracyHeads(nn.Module):
    """Maps inputs `(batch, inputs)` to a logit of accuracy with its calibrated half-width.

    The kernel is a Matern 3/2 with a relevance per input plus a linear one (Rasmussen and Williams,
    Gaussian Processes for Machine Learning, eq. 4.17 and 2.25-2.26). `width` scales the process's
    standard deviation to the interval that held `coverage` of nets that it had not seen (split
    conformal prediction).
    """

    seen: torch.Tensor
    scores: torch.Tensor
    input_mean: torch.Tensor
    input_std: torch.Tensor
    width: torch.Tensor

    def __init__(self, nets: int, inputs: int, settings: HeadSettings) -> None:
        """Make heads that have seen `nets` nets; `fit_heads` or a state fills them in."""
        super().__init__()
        self.log_scales = nn.Parameter(torch.zeros(inputs))
        self.log_length = nn.Parameter(torch.tensor(0.5 * math.log(inputs)))
        self.log_signal = nn.Parameter(torch.tensor(0.0))
        self.log_linear = nn.Parameter(torch.tensor(math.log(0.1)))
        self.log_noise = nn.Parameter(torch.tensor(math.log(0.3)))
        self.register_buffer("seen", torch.zeros(nets, inputs))
        self.register_buffer("scores", torch.zeros(nets))
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_std", torch.ones(inputs))
        self.register_buffer("width", torch.tensor(1.0))
        self.warp = Warp(settings.knots)
        self._weights = torch.zeros(nets)
        self._precision = torch.zeros(nets, nets)

    @torch.no_grad()
    def condition(self) -> AccuracyHeads:
        """Work out what predictions need from the nets seen; call after any change of the state.

        Raises:
            RuntimeError: the numbers are no valid process.
        """
        factor = torch.linalg.cholesky(self._covariance(self.seen).double())
        self._precision = torch.cholesky_inverse(factor).float()
        self._weights = torch.cholesky_solve(self.scores.double()[:, None], factor)[:, 0].float()
        return self

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean logit of accuracy and its calibrated half-width, each `(batch,)`."""
        values = self._standardised(inputs)
        cross = self._kernel(values, self.seen)
        score = cross @ self._weights
        own = (2 * self.log_signal).exp() + (2 * self.log_linear).exp() * values.square().mean(1)
        explained = ((cross @ self._precision) * cross).sum(dim=1)
        noise = (2 * self.log_noise).exp()
        spread = ((own - explained).clamp_min(0) + noise).sqrt()
        half = (self.warp(score + spread) - self.warp(score - spread)) / 2
        return self.warp(score), self.width * half

    def draw(
        self, inputs: torch.Tensor, count: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw what the nets' logits of accuracy may be, without and with the noise of a label.

        Nets that are alike are drawn alike. Both have the shape `(count, batch)`.
        """
        values = self._standardised(inputs).double()
        cross = self._kernel(values, self.seen.double())
        rest = self._kernel(values, values) - cross @ self._precision.double() @ cross.T
        # Rounding makes some eigenvalues of near copies negative, which stops a Cholesky factor.
        variance, direction = torch.linalg.eigh(rest)
        root = (direction * variance.clamp_min(0).sqrt()).float()
        shape = (count, len(inputs))
        score = cross.float() @ self._weights + torch.randn(shape, generator=generator) @ root.T
        label = score + self.log_noise.exp() * torch.randn(shape, generator=generator)
        return self.warp(score), self.warp(label)

    def loss(self, chosen: torch.Tensor, scale_prior: float) -> torch.Tensor:
        """Return the negative log marginal likelihood of some nets seen, with the prior's term."""
        factor = torch.linalg.cholesky(self._covariance(self.seen[chosen]))
        scores = self.scores[chosen]
        weights = torch.cholesky_solve(scores[:, None], factor)[:, 0]
        likelihood = scores @ weights / 2 + factor.diagonal().log().sum()
        loss: torch.Tensor = likelihood + scale_prior / 2 * self.log_scales.square().sum()
        return loss

    def standardise_by(self, inputs: torch.Tensor) -> None:
        """Take the statistics of these inputs, and them as the nets seen."""
        self.input_mean.copy_(inputs.mean(dim=0))
        self.input_std.copy_(inputs.std(dim=0).clamp_min(1e-3))
        self.seen.copy_(self._standardised(inputs))

    def _standardised(self, inputs: torch.Tensor) -> torch.Tensor:
        return ((inputs - self.input_mean) / self.input_std).clamp(-4, 4)

    def _covariance(self, values: torch.Tensor) -> torch.Tensor:
        noise = (2 * self.log_noise).exp() + _JITTER
        return self._kernel(values, values) + noise * torch.eye(len(values))

    def _kernel(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        scale = (self.log_scales - self.log_length).exp()
        a, b = first * scale, second * scale
        squared = a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T
        distance = (3 * squared.clamp_min(1e-8)).sqrt()
        matern = (2 * self.log_signal).exp() * (1 + distance) * (-distance).exp()
        return matern + (2 * self.log_linear).exp() / first.shape[1] * (first @ second.T)


@dataclass(frozen=True)
class HeldOut:
    """Predictions for nets by heads that had not seen them, each array of shape `(nets,)`.

    `half_width` is that of the 90% interval, in logits.
    """

    accuracy: NDArray[np.float64]
    predicted: NDArray[np.float64]
    half_width: NDArray[np.float64]
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
    *,
    own: int | None = None,
) -> tuple[AccuracyHeads, HeldOut]:
    """Fit heads on all nets; their intervals come from fits that each leave a fold out.

    Args:
        inputs: `(nets, inputs)`.
        accuracy: measured accuracies `(nets,)` in [0, 1].
        settings: how to fit.
        generator: draws the folds and the nets that the kernel is chosen on.
        own: the first so many nets are what the heads are for: intervals are calibrated on them,
            and they alone come back as held out. Unset is all.
    """
    target = accuracy_logit(accuracy)
    count = len(inputs)
    fold = torch.randperm(count, generator=generator) % settings.folds
    mean, half = torch.zeros(count), torch.zeros(count)
    for index in range(settings.folds):
        held = fold == index
        heads = _fit(inputs[~held], target[~held], settings, generator)
        with torch.no_grad():
            mean[held], half[held] = heads(inputs[held])
    heads = _fit(inputs, target, settings, generator)
    target, mean, half = target[:own], mean[:own], half[:own]
    ratio = (target - mean).abs() / half.clamp_min(1e-6)
    heads.width.copy_(conformal_quantile(ratio, settings.coverage))
    either = torch.randperm(len(ratio), generator=generator) % 2 == 0
    covered = [
        (ratio[half_of_them] <= conformal_quantile(ratio[~half_of_them], settings.coverage))
        .float()
        .mean()
        .item()
        for half_of_them in (either, ~either)
    ]
    held_out = HeldOut(
        accuracy[:own].double().numpy(),
        mean.sigmoid().double().numpy(),
        (heads.width * half).double().numpy(),
        float(np.mean(covered)),
    )
    return heads.eval().requires_grad_(False), held_out


def _fit(
    inputs: torch.Tensor,
    target: torch.Tensor,
    settings: HeadSettings,
    generator: torch.Generator,
) -> AccuracyHeads:
    heads = AccuracyHeads(len(inputs), inputs.shape[1], settings)
    heads.standardise_by(inputs)
    heads.scores.copy_(normal_scores(target))
    heads.warp.fit(target)
    chosen = torch.randperm(len(inputs), generator=generator)[: settings.fit_nets]
    parameters = [getattr(heads, name) for name in _HYPERPARAMETERS]
    optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate)
    for _ in range(settings.iterations):
        loss = heads.loss(chosen, settings.scale_prior)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return heads.condition()


def conformal_quantile(ratio: torch.Tensor, coverage: float) -> torch.Tensor:
    """Return the conformal quantile, which counts the net to come."""
    rank = min(len(ratio), int(np.ceil((len(ratio) + 1) * coverage)))
    return ratio.sort().values[rank - 1]
