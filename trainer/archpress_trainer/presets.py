"""Presets of `archpress-trainer build`: how much work goes into an embedding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from archpress_trainer.data.dataset import ImageDataset
from archpress_trainer.embedding.fit_autoencoder import AutoencoderSettings
from archpress_trainer.embedding.manifest import EmbeddingMethod
from archpress_trainer.embedding.paper import PaperSettings
from archpress_trainer.population.spec import (
    MAX_ACTIVATION_BYTES,
    MAX_MACS,
    MIN_PARAMS,
    PopulationError,
    PopulationSpec,
    RecipeName,
    SamplerName,
    default_spec,
)
from archpress_trainer.stages.settings import BuildSettings
from archpress_trainer.training.fidelity import Fidelity
from archpress_trainer.training.recipe import suits_mirroring


class PresetName(StrEnum):
    """How much work goes into an embedding."""

    QUICK = "quick"
    STANDARD = "standard"
    FULL = "full"
    RESIDUAL = "residual"
    PAPER = "paper"


@dataclass(frozen=True)
class Preset:
    """What decides an embedding beside data set and seed; each field is an option of `build`.

    `images` None is all that are for training. `flip` None mirrors images where that
    `suits_mirroring`. `start` names an embedding whose autoencoder the fit goes on from.
    `paper_iterations` None is the paper's number for the data set. No net is trained that is above
    `max_macs` or `max_activation_bytes`; most have `min_params`, those of the paper's sampler any.
    """

    nets: int
    images: int | None
    epochs: int
    seeds: int = 1
    repeats: int = 0
    also: tuple[str, ...] = ()
    sampler: SamplerName = SamplerName.PRACTICAL
    recipe: RecipeName = RecipeName.POPULATION
    flip: bool | None = None
    method: EmbeddingMethod = EmbeddingMethod.DEFAULT
    autoencoder_nets: int = 1_000_000
    autoencoder_iterations: int = 5_000
    autoencoder_batch: int = 512
    dimensions: int = 128
    start: str = ""
    paper_iterations: int | None = None
    min_params: int = MIN_PARAMS
    max_macs: int = MAX_MACS
    max_activation_bytes: int = MAX_ACTIVATION_BYTES


PRESETS = {
    # Meant for an hour of two cores, from nothing, with images of 28x28 or 32x32.
    PresetName.QUICK: Preset(
        nets=200,
        images=12_000,
        epochs=3,
        autoencoder_nets=200_000,
        autoencoder_iterations=2_000,
    ),
    # What the embedding that comes with archpress for fashion-mnist was built with.
    PresetName.STANDARD: Preset(nets=1_000, images=12_000, epochs=3, repeats=60),
    # For nets with skips: they hold more layers and larger maps for the same parameters.
    # fashion-mnist-residual has 100 nets and borrows labels (`--also`): `--from` its manifest.
    PresetName.RESIDUAL: Preset(
        nets=600,
        images=12_000,
        epochs=3,
        sampler=SamplerName.RESIDUAL,
        autoencoder_nets=150_000,
        autoencoder_iterations=3_000,
        autoencoder_batch=256,
        dimensions=192,
        min_params=6_000,
        max_macs=8_000_000,
        max_activation_bytes=400_000,
    ),
    # For a machine with a GPU.
    PresetName.FULL: Preset(nets=1_500, images=None, epochs=10, seeds=2, repeats=100),
    # The paper's sampler (section 9), its 1,500 nets of 5 epochs from 5 initialisations (section
    # 5), its recipe (section 10.1) and its model (sections 4 and 10.2). The bounds on a net's cost
    # stay ours: the paper has some too, but does not say which.
    PresetName.PAPER: Preset(
        nets=1_500,
        images=None,
        epochs=5,
        seeds=5,
        sampler=SamplerName.PAPER,
        recipe=RecipeName.PAPER,
        method=EmbeddingMethod.PAPER,
    ),
}
"""What each name stands for."""


def population_of(
    choices: Preset, name: str, dataset: ImageDataset, *, seed: int
) -> PopulationSpec:
    """Return the population that the choices make of a data set.

    Raises:
        PopulationError: the choices do not go together, or no net can be sampled for the images.
    """
    if choices.sampler is SamplerName.PAPER and choices.method is not EmbeddingMethod.PAPER:
        raise PopulationError(
            f"the paper's sampler needs the paper's method, not {choices.method}: its layers lie "
            "outside the default embedding's space; add --method paper or --sampler practical"
        )
    if choices.sampler is SamplerName.RESIDUAL and choices.method is EmbeddingMethod.PAPER:
        raise PopulationError(
            "the paper's method reads chains, the residual sampler draws nets with joins: "
            "add --method default or another --sampler"
        )
    if choices.also and choices.method is EmbeddingMethod.PAPER:
        raise PopulationError(
            "the paper's method does not learn from other embeddings' nets: leave out --also, or "
            "add --method default"
        )
    if choices.start and choices.method is EmbeddingMethod.PAPER:
        raise PopulationError(
            "the paper's method has no autoencoder to start from another's: leave out --start, or "
            "add --method default"
        )
    if choices.flip is not None and choices.recipe is RecipeName.PAPER:
        raise PopulationError(
            "the paper's recipe says itself whether images are mirrored: leave out --flip and "
            "--no-flip, or add --recipe population"
        )
    available = dataset.training_count
    images = available if choices.images is None else min(choices.images, available)
    spec = default_spec(
        name,
        dataset.fingerprint,
        dataset.input_shape,
        dataset.classes,
        Fidelity(images, choices.epochs, choices.seeds),
        sampler=choices.sampler,
        recipe=choices.recipe,
        flip=suits_mirroring(name) if choices.flip is None else choices.flip,
        min_params=choices.min_params,
        max_macs=choices.max_macs,
        max_activation_bytes=choices.max_activation_bytes,
        seed=seed,
    )
    if spec.min_params >= spec.max_params:
        raise PopulationError(
            f"--min-params is {spec.min_params:,}, must be below {spec.max_params:,}, "
            "the most parameters of a net"
        )
    if spec.max_macs > spec.space.max_macs:
        raise PopulationError(
            f"--max-macs is {spec.max_macs:,}, must be at most {spec.space.max_macs:,}, "
            "what the embedding's space holds"
        )
    return spec


def settings_of(choices: Preset, name: str) -> BuildSettings:
    """Return how the choices fit the embedding of a data set."""
    return BuildSettings(
        nets=choices.nets,
        repeats=choices.repeats,
        also=choices.also,
        method=choices.method,
        autoencoder=AutoencoderSettings(
            nets=choices.autoencoder_nets,
            iterations=choices.autoencoder_iterations,
            batch_size=choices.autoencoder_batch,
            dimensions=choices.dimensions,
            start=choices.start,
        ),
        paper=replace(
            PaperSettings(), iterations=choices.paper_iterations or _paper_iterations(name)
        ),
        # To sample more than the autoencoder learns from would be most of a small build.
        unseen_nets=min(BuildSettings.unseen_nets, choices.autoencoder_nets),
    )


def _paper_iterations(name: str) -> int:
    """Return section 10.2's number of steps."""
    return 100_000 if name.startswith("cifar") else 80_000
