"""The embedding of a build, with the data of its report's figures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archpress_trainer.embedding.artifact import versions
from archpress_trainer.embedding.default import DefaultEmbedding
from archpress_trainer.embedding.features import feature_matrix
from archpress_trainer.embedding.figures import FigureData, FitCurves, HeldOutNets
from archpress_trainer.embedding.fit_autoencoder import FitStep
from archpress_trainer.embedding.fit_default import fit_accuracy
from archpress_trainer.embedding.fit_paper import fit_paper
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.embedding.record import Record, population_digest
from archpress_trainer.population.spec import PopulationSpec
from archpress_trainer.stages.autoencoder import fitted_autoencoder
from archpress_trainer.stages.settings import BuildObserver, BuildSettings
from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import population_recipe


def fit_default_embedding(
    spec: PopulationSpec,
    settings: BuildSettings,
    labelled: list[Record],
    borrowed: list[Record],
    work: Path,
    compute: Compute,
    observer: BuildObserver,
) -> tuple[Embedding, FigureData]:
    """Return the default embedding of a population's labelled nets.

    Its heads learn from `borrowed` nets too; its quality is measured on its own.

    Raises:
        ArtifactError: the work folder's autoencoder is damaged.
    """
    autoencoder = fitted_autoencoder(spec, settings, work, compute, observer)
    seen = [*labelled, *borrowed]
    fitted = fit_accuracy(
        autoencoder,
        spec.space,
        [record.architecture for record in seen],
        torch.tensor([record.accuracy for record in seen]),
        settings.heads,
        seed=spec.seed,
        unseen_nets=settings.unseen_nets,
        own=len(labelled),
    )
    parts = {
        "autoencoder": asdict(settings.autoencoder),
        "heads": asdict(settings.heads),
        "sampling_workers": settings.sampling_workers,
        "unseen_nets": settings.unseen_nets,
    }
    if borrowed:
        parts |= {"also": list(settings.also), "borrowed_digest": population_digest(borrowed)}
    embedding = DefaultEmbedding(
        _manifest(spec, settings, labelled, fitted.metrics, parts),
        autoencoder.model,
        fitted.heads,
        autoencoder.feature_mean,
        autoencoder.feature_std,
    )
    held_out = fitted.held_out
    figures = FigureData(
        fit=_curves(autoencoder.curve),
        held_out=HeldOutNets(
            tuple(record.index for record in labelled),
            *(
                tuple(np.round(values, 5).tolist())
                for values in (held_out.accuracy, held_out.predicted, held_out.half_width)
            ),
        ),
        reconstruction=fitted.reconstruction,
    )
    return embedding, figures


def fit_paper_embedding(
    spec: PopulationSpec,
    settings: BuildSettings,
    labelled: list[Record],
    observer: BuildObserver,
) -> tuple[Embedding, FigureData]:
    """Return the paper's embedding of a population's labelled nets."""
    architectures = [record.architecture for record in labelled]
    curve: list[tuple[int, float]] = []

    def on_step(iteration: int, loss: float) -> None:
        curve.append((iteration, round(loss, 5)))
        if observer.on_paper is not None:
            observer.on_paper(iteration, loss)

    embedding = fit_paper(
        lambda metrics: _manifest(
            spec, settings, labelled, metrics, {"paper": asdict(settings.paper)}
        ),
        architectures,
        torch.tensor([record.accuracy for record in labelled]),
        feature_matrix(architectures, spec.space),
        settings.paper,
        spec.space,
        seed=spec.seed,
        on_step=on_step,
    )
    iterations, losses = zip(*curve, strict=True) if curve else ((), ())
    return embedding, FigureData(fit=FitCurves(iterations, {"total": losses}))


def _curves(steps: tuple[FitStep, ...]) -> FitCurves:
    return FitCurves(
        tuple(step.iteration for step in steps),
        {
            "total": tuple(round(step.loss, 5) for step in steps),
            "reconstruction": tuple(round(step.reconstruction, 5) for step in steps),
            "features": tuple(round(step.features, 5) for step in steps),
        },
    )


def _manifest(
    spec: PopulationSpec,
    settings: BuildSettings,
    labelled: list[Record],
    metrics: dict[str, float],
    parts: dict[str, Any],
) -> Manifest:
    digest = population_digest(labelled)
    chosen = {
        "nets": settings.nets,
        "repeats": settings.repeats,
        "seed": spec.seed,
        **parts,
    }
    identity = f"{digest} {spec.space.digest} {json.dumps(chosen, sort_keys=True)}"
    short = hashlib.sha256(identity.encode()).hexdigest()[:8]
    usual = population_recipe(spec.fidelity.epochs, crop_padding=spec.recipe.crop_padding)
    return Manifest(
        name=f"{spec.dataset}-{settings.method}-{short}",
        method=settings.method,
        dataset=spec.dataset,
        dataset_fingerprint=spec.dataset_fingerprint,
        space=spec.space,
        fidelity=spec.fidelity,
        population_size=len(labelled),
        population_digest=digest,
        metrics=metrics,
        settings=chosen,
        versions=versions(),
        label_recipe=None if spec.recipe == usual else spec.recipe,
    )
