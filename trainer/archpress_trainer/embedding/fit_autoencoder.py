"""Fitting the autoencoder on sampled nets that need no labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch.nn import functional

from archpress_trainer.embedding.autoencoder import (
    Autoencoder,
    exactly_reconstructed,
    fields_reconstructed,
    reconstruction_loss,
)
from archpress_trainer.embedding.unlabelled import Encoded

_BATCH = 1024


@dataclass(frozen=True)
class AutoencoderSettings:
    """How the autoencoder is fitted.

    `start` names an embedding whose autoencoder the fit goes on from; empty is random weights. The
    reader is fitted for as many iterations again, on the first `reader_nets` nets.
    """

    nets: int = 600_000
    iterations: int = 5_000
    batch_size: int = 512
    learning_rate: float = 2e-3
    dimensions: int = 128
    blur: float = 0.1
    feature_weight: float = 1.0
    weight_decay: float = 1e-4
    start: str = ""
    reader_nets: int = 200_000


@dataclass(frozen=True)
class FitStep:
    """One line of the loss curve."""

    iteration: int
    loss: float
    reconstruction: float
    features: float
    exact: float


def fit_autoencoder(
    model: Autoencoder,
    data: Encoded,
    settings: AutoencoderSettings,
    generator: torch.Generator,
    *,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    on_step: Callable[[FitStep], None] | None = None,
    report_every: int = 50,
) -> tuple[FitStep, ...]:
    """Fit a model in place; returns the loss curve, one entry per `report_every` iterations.

    The features are standardised over `data`; the model's feature head predicts those. `autocast`
    makes the context of the forward pass.
    """
    mean, std = data.feature_statistics()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        settings.learning_rate,
        settings.iterations,
        # torch divides by zero where the rise is just one step.
        pct_start=0.1 if settings.iterations > 10 else 0.0,
    )
    curve: list[FitStep] = []
    model.train()
    for iteration in range(1, settings.iterations + 1):
        chosen = torch.randint(len(data), (settings.batch_size,), generator=generator)
        classes = data.classes[chosen]
        derived = data.derived[chosen].float()
        target = (data.features[chosen] - mean) / std
        with autocast():
            _, logits, predicted = model(classes, derived, generator)
        reconstruction = reconstruction_loss(logits, classes)
        fact = functional.smooth_l1_loss(predicted.float(), target)
        loss = reconstruction + settings.feature_weight * fact
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if iteration % report_every == 0 or iteration == settings.iterations:
            exact = float(exactly_reconstructed(logits, classes).float().mean())
            values = (loss.item(), reconstruction.item(), fact.item())
            step = FitStep(iteration, *values, exact)
            curve.append(step)
            if on_step is not None:
                on_step(step)
    model.eval()
    return tuple(curve)


@torch.no_grad()
def reconstruction_by_field(
    model: Autoencoder, data: Encoded, fields: Sequence[str]
) -> dict[str, float]:
    """Return the share of nets that come back right from their embedding, by field.

    The fields are named in the codec's order; beside them there is "exact", the share of nets of
    which every field does.
    """
    model.eval()
    right = torch.zeros(len(fields) + 1)
    for start in range(0, len(data), _BATCH):
        classes = data.classes[start : start + _BATCH]
        embedding = model.encode(classes, data.derived[start : start + _BATCH].float())
        found = fields_reconstructed(model.decode(embedding), classes)
        right += torch.cat([found, found.all(dim=0, keepdim=True)]).sum(dim=1)
    shares = (right / len(data)).tolist()
    return dict(zip((*fields, "exact"), shares, strict=True))
