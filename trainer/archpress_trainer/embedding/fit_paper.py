"""Fitting the paper's embedding, with its quality measured as that of the default one is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from archpress_trainer.embedding.heads import accuracy_logit, conformal_quantile
from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.embedding.metrics import baseline_predictions, quality
from archpress_trainer.embedding.paper import (
    PaperEmbedding,
    PaperModel,
    PaperSettings,
    fit_paper_model,
    sequences,
)
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture

_HELD_OUT = 0.2
_COVERAGE = 0.9


def fit_paper(
    manifest: Callable[[dict[str, float]], Manifest],
    architectures: Sequence[Architecture],
    accuracy: torch.Tensor,
    features: NDArray[np.float32],
    settings: PaperSettings,
    space: ArchitectureSpace,
    *,
    seed: int,
    on_step: Callable[[int, float], None] | None = None,
) -> PaperEmbedding:
    """Return the paper's embedding fitted on four fifths of the nets, measured on the rest.

    Args:
        manifest: makes the manifest from the metrics.
        architectures: labelled nets.
        accuracy: their accuracies `(nets,)` in [0, 1].
        features: hand features `(nets, features)`, for the simple predictors.
        settings: how to fit.
        space: of the embedding.
        seed: of the split, the weights and the batches.
        on_step: told of iteration and loss.
    """
    fitted = _fit_and_hold_out(architectures, accuracy, settings, space, seed, on_step)
    model, test, logits = fitted.model, fitted.held, fitted.logits
    unseen = [architectures[i] for i in test]
    error = (accuracy_logit(accuracy[test]) - logits).abs()
    # One half sets the width of the intervals, the other tells how many they hold.
    setting, telling = error[::2], error[1::2]
    half_width = conformal_quantile(setting, _COVERAGE)
    params = np.array([count(a).params for a in architectures], dtype=np.float64)
    measured = accuracy.double().numpy()
    baselines = baseline_predictions(features, measured, seed=seed)
    metrics = quality(
        measured[test],
        logits.sigmoid().double().numpy(),
        params[test],
        {name: values[test] for name, values in baselines.items()},
        covered=float((telling <= half_width).float().mean()),
        exact_reconstruction=_exact(model, unseen),
    )
    return PaperEmbedding(manifest(metrics), model, half_width)


def paper_predictions(
    architectures: Sequence[Architecture],
    accuracy: torch.Tensor,
    settings: PaperSettings,
    space: ArchitectureSpace,
    *,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which nets were held out of a fit, and the accuracies that it predicts for them."""
    fitted = _fit_and_hold_out(architectures, accuracy, settings, space, seed, None)
    return np.array(fitted.held), fitted.logits.sigmoid().double().numpy()


@dataclass(frozen=True)
class _Fitted:
    model: PaperModel
    held: list[int]
    logits: torch.Tensor


def _fit_and_hold_out(
    architectures: Sequence[Architecture],
    accuracy: torch.Tensor,
    settings: PaperSettings,
    space: ArchitectureSpace,
    seed: int,
    on_step: Callable[[int, float], None] | None,
) -> _Fitted:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(architectures), generator=generator)
    held = max(2, round(len(architectures) * _HELD_OUT))
    test, train = order[:held].tolist(), order[held:].tolist()
    model = fit_paper_model(
        [architectures[i] for i in train],
        accuracy[train],
        space.max_layers,
        settings,
        generator,
        on_step=on_step,
    )
    with torch.no_grad():
        points = model.encode(sequences([architectures[i] for i in test], model.length))
        logits = model.accuracy(points).squeeze(1)
    return _Fitted(model, test, logits)


@torch.no_grad()
def _exact(model: PaperModel, architectures: Sequence[Architecture]) -> float:
    """Return the share of nets whose rounded sequence is their own, padding included."""
    rows = sequences(architectures, model.length)
    decoded = model.decode(model.encode(rows)).round()
    return float((decoded == rows).all(dim=(1, 2)).float().mean())
