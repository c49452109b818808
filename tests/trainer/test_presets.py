"""Presets: what each stands for, that options override it, and the populations that they make."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from archpress_trainer.data.dataset import ImageDataset
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.manifest import EmbeddingMethod
from archpress_trainer.embedding.paper import PaperSettings
from archpress_trainer.population.spec import PopulationError, RecipeName, SamplerName
from archpress_trainer.presets import PRESETS, PresetName, population_of, settings_of
from archpress_trainer.space.architecture_space import ArchitectureSpace, paper_space
from archpress_trainer.training.recipe import Optimizer, Schedule, paper_recipe, population_recipe


@pytest.fixture
def tiny(tiny_sources: DataSources) -> ImageDataset:
    return tiny_sources.load("tiny")


def images_of(height: int, width: int, channels: int = 1, classes: int = 2) -> ImageDataset:
    images = np.zeros((2 * classes, height, width, channels), np.uint8)
    labels = np.arange(2 * classes, dtype=np.int64) % classes
    return ImageDataset("own", classes, images, labels, images, labels)


def test_every_name_has_a_preset() -> None:
    assert set(PRESETS) == set(PresetName)


def test_more_work_from_preset_to_preset() -> None:
    def images_seen(name: PresetName) -> int:
        preset = PRESETS[name]
        return preset.nets * (preset.images or 60_000) * preset.epochs * preset.seeds

    quick, standard, full = PresetName.QUICK, PresetName.STANDARD, PresetName.FULL
    assert images_seen(quick) < images_seen(standard) < images_seen(full)


def test_quick_fits_into_an_hour_on_two_cores() -> None:
    # Measured seconds of one core: a label of 36,000 images, a step of the fit, a thousand nets.
    label, step, thousand_nets = 8.0, 0.35, 0.55
    quick = PRESETS[PresetName.QUICK]
    assert quick.images is not None
    labels = quick.nets * label * quick.images * quick.epochs * quick.seeds / 36_000
    fit = quick.autoencoder_iterations * step
    sampling = quick.autoencoder_nets / 1_000 * thousand_nets
    # Half of the hour is left for slower machines, and the second core may not help the fit.
    assert labels / 2 + fit + sampling / 2 < 1_800


def test_the_standard_population(tiny: ImageDataset) -> None:
    spec = population_of(PRESETS[PresetName.STANDARD], "mine", tiny, seed=5)
    assert spec.dataset == "mine"
    assert spec.dataset_fingerprint == tiny.fingerprint
    assert spec.space == ArchitectureSpace((1, 12, 12), 4)
    assert spec.recipe == population_recipe(3)
    assert spec.sampler == "practical"
    assert spec.seed == 5
    # A fidelity tells what was trained on: 80 of the 960 images are for validation.
    assert spec.fidelity.train_images == 880 == len(tiny.split().train)
    few = replace(PRESETS[PresetName.STANDARD], images=64)
    assert population_of(few, "mine", tiny, seed=0).fidelity.train_images == 64


@pytest.mark.parametrize(
    ("name", "flip", "mirrored"),
    [("mine", None, True), ("svhn", None, False), ("svhn", True, True), ("arrows", False, False)],
)
def test_images_are_mirrored_unless_they_are_digits_or_somebody_says_so(
    tiny: ImageDataset, name: str, flip: bool | None, mirrored: bool
) -> None:
    choices = replace(PRESETS[PresetName.QUICK], flip=flip)
    assert population_of(choices, name, tiny, seed=0).recipe == population_recipe(3, flip=mirrored)


def test_the_papers_recipe_decides_on_mirroring_itself(tiny: ImageDataset) -> None:
    choices = replace(PRESETS[PresetName.PAPER], flip=True)
    with pytest.raises(PopulationError, match="leave out --flip and --no-flip"):
        population_of(choices, "tiny", tiny, seed=0)


def test_the_papers_population(tiny: ImageDataset) -> None:
    paper = PRESETS[PresetName.PAPER]
    assert (paper.nets, paper.epochs, paper.seeds) == (1_500, 5, 5)
    spec = population_of(paper, "fashion-mnist", tiny, seed=0)
    assert spec.sampler == "paper"
    assert spec.space == paper_space((1, 12, 12), 4)
    assert spec.fidelity.train_images == 880
    # The first 5 of the paper's 50 epochs.
    assert spec.recipe == replace(paper_recipe("fashion-mnist"), epochs=5)
    assert spec.recipe.optimizer is Optimizer.ADAM
    assert spec.recipe.schedule is Schedule.STEPS
    assert spec.recipe.learning_rate == 0.01
    whole = population_of(replace(paper, epochs=50), "fashion-mnist", tiny, seed=0)
    assert whole.recipe == paper_recipe("fashion-mnist")
    cifar = population_of(paper, "cifar10", images_of(32, 32, 3), seed=0).recipe
    assert (cifar.batch_size, cifar.learning_rate, cifar.crop_padding) == (128, 0.001, 4)


def test_the_papers_bounds_can_be_lifted(tiny: ImageDataset) -> None:
    paper = PRESETS[PresetName.PAPER]
    bounded = list(population_of(paper, "tiny", tiny, seed=0).samples(40))
    assert all(sample.costs.macs <= paper.max_macs for sample in bounded)
    lifted = replace(paper, max_macs=1_500_000_000, max_activation_bytes=100_000_000)
    free = list(population_of(lifted, "tiny", tiny, seed=0).samples(40))
    assert any(sample.costs.macs > paper.max_macs for sample in free)


@pytest.mark.parametrize(
    ("name", "steps"), [("fashion-mnist", 80_000), ("svhn", 80_000), ("cifar100", 100_000)]
)
def test_the_papers_iterations(name: str, steps: int) -> None:
    settings = settings_of(PRESETS[PresetName.PAPER], name)
    assert settings.method is EmbeddingMethod.PAPER
    assert settings.paper == PaperSettings(iterations=steps)
    fewer = replace(PRESETS[PresetName.PAPER], paper_iterations=7)
    assert settings_of(fewer, name).paper.iterations == 7


def test_fields_are_options_and_reach_the_settings() -> None:
    from inspect import signature

    from archpress_trainer.cli.build import build

    names = {field.name for field in fields(PRESETS[PresetName.QUICK])}
    assert names <= set(signature(build).parameters)
    chosen = replace(
        PRESETS[PresetName.QUICK], nets=30, autoencoder_nets=400, autoencoder_iterations=9
    )
    settings = settings_of(chosen, "tiny")
    assert settings.nets == 30
    assert settings.autoencoder.nets == 400
    assert settings.autoencoder.iterations == 9
    assert settings.unseen_nets == 400
    assert settings_of(PRESETS[PresetName.QUICK], "tiny").unseen_nets == 4_000


def test_the_papers_sampler_needs_the_papers_method(tiny: ImageDataset) -> None:
    mixed = replace(PRESETS[PresetName.QUICK], sampler=SamplerName.PAPER)
    with pytest.raises(PopulationError, match="needs the paper's method, not default"):
        population_of(mixed, "tiny", tiny, seed=0)
    both = replace(mixed, method=EmbeddingMethod.PAPER, recipe=RecipeName.POPULATION)
    assert population_of(both, "tiny", tiny, seed=0).recipe == population_recipe(3)


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (images_of(7, 20), ["1x7x20", "too small", "at least 8"]),
        (images_of(8, 513), ["input_shape.width is 513, must be 1 to 512"]),
        (images_of(16, 16, 65), ["input_shape.channels is 65, must be 1 to 64"]),
        (images_of(224, 224, 3), ["3x224x224", "602,112 bytes", "500,000", "--image-size"]),
    ],
)
def test_images_that_no_net_fits(dataset: ImageDataset, words: list[str]) -> None:
    with pytest.raises(PopulationError) as caught:
        population_of(PRESETS[PresetName.QUICK], "own", dataset, seed=0)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_bounds_that_hardly_any_net_keeps_to(tiny: ImageDataset) -> None:
    strict = replace(PRESETS[PresetName.QUICK], max_macs=1)
    spec = population_of(strict, "tiny", tiny, seed=0)
    with pytest.raises(PopulationError, match="none of 5,000 sampled nets keeps to 1 multiply"):
        list(spec.samples(1))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"min_params": 1_000_000}, "--min-params is 1,000,000, must be below 1,000,000"),
        ({"max_macs": 2 * 10**9}, r"--max-macs is 2,000,000,000, must be at most [\d,]+, what"),
    ],
)
def test_bounds_that_nothing_can_keep_to_are_refused(
    tiny: ImageDataset, change: dict[str, Any], text: str
) -> None:
    with pytest.raises(PopulationError, match=text):
        population_of(replace(PRESETS[PresetName.QUICK], **change), "tiny", tiny, seed=0)
