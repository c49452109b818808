"""Fitting the default embedding: accuracy heads on a fitted autoencoder, and their quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from archpress_trainer.embedding.autoencoder import Autoencoder
from archpress_trainer.embedding.codec import Codec
from archpress_trainer.embedding.features import feature_matrix
from archpress_trainer.embedding.fit_autoencoder import FitStep, reconstruction_by_field
from archpress_trainer.embedding.heads import AccuracyHeads, HeadSettings, HeldOut, fit_heads
from archpress_trainer.embedding.metrics import baseline_predictions, quality
from archpress_trainer.embedding.unlabelled import sample_encoded
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture

_UNSEEN_SEED = 7_919
"""Apart from the seeds that autoencoders are fitted with, which start at 0."""


@dataclass(frozen=True)
class FittedAutoencoder:
    """An autoencoder and the statistics that its feature head is standardised by."""

    model: Autoencoder
    feature_mean: torch.Tensor
    feature_std: torch.Tensor
    curve: tuple[FitStep, ...] = ()


@dataclass(frozen=True)
class FittedHeads:
    """Accuracy heads with what was measured on nets that they, or the autoencoder, had not seen.

    `reconstruction` is the share of unseen nets that come back right, by field.
    """

    heads: AccuracyHeads
    metrics: dict[str, float]
    held_out: HeldOut
    reconstruction: dict[str, float]


def fit_accuracy(
    autoencoder: FittedAutoencoder,
    space: ArchitectureSpace,
    architectures: Sequence[Architecture],
    accuracy: torch.Tensor,
    settings: HeadSettings,
    *,
    seed: int,
    unseen_nets: int,
    own: int | None = None,
) -> FittedHeads:
    """Return accuracy heads fitted on labelled nets, with the embedding's quality.

    Args:
        autoencoder: fitted on the same space.
        space: of the embedding.
        architectures: labelled nets.
        accuracy: their accuracies `(nets,)` in [0, 1].
        settings: how to fit the heads.
        seed: of folds, weights and the nets that reconstruction is measured on.
        unseen_nets: how many of those to sample.
        own: the first so many nets are of the embedding's own population, which quality is
            measured on; unset is all.
    """
    facts = feature_matrix(architectures, space)
    inputs = (torch.from_numpy(facts) - autoencoder.feature_mean) / autoencoder.feature_std
    generator = torch.Generator().manual_seed(seed)
    heads, held_out = fit_heads(inputs, accuracy, settings, generator, own=own)
    params = np.array([count(a).params for a in architectures[:own]], dtype=np.float64)
    unseen = sample_encoded(space, unseen_nets, _UNSEEN_SEED + seed)
    reconstruction = reconstruction_by_field(autoencoder.model, unseen, Codec(space).fields)
    exact = reconstruction.pop("exact")
    metrics = quality(
        held_out.accuracy,
        held_out.predicted,
        params,
        {
            name: predicted[:own]
            for name, predicted in baseline_predictions(
                facts, accuracy.double().numpy(), seed=seed
            ).items()
        },
        covered=held_out.covered,
        exact_reconstruction=exact,
    )
    return FittedHeads(heads, metrics, held_out, reconstruction)
