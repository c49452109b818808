"""Recipes are data, and the paper's are what section 10.1 says."""

from __future__ import annotations

import json

import pytest

from archpress_trainer.training.recipe import (
    Optimizer,
    Recipe,
    Schedule,
    paper_recipe,
    population_recipe,
)


@pytest.mark.parametrize(
    "recipe",
    [
        population_recipe(3, crop_padding=4),
        paper_recipe("cifar10"),
        Recipe("own", 7, milestones=(1, 2), average_decay=0.99, label_smoothing=0.1),
    ],
    ids=lambda recipe: recipe.name,
)
def test_json_round_trip(recipe: Recipe) -> None:
    record = json.loads(json.dumps(recipe.to_json()))
    assert record == recipe.to_json()
    again = Recipe.from_json(record)
    assert again == recipe
    assert isinstance(again.optimizer, Optimizer)
    assert isinstance(again.schedule, Schedule)


def test_json_with_an_unknown_field_is_refused() -> None:
    record = population_recipe(1).to_json() | {"momentun": 0.9}
    with pytest.raises(TypeError, match="momentun"):
        Recipe.from_json(record)


def test_the_papers_fashion_mnist() -> None:
    recipe = paper_recipe("fashion-mnist")
    assert recipe.optimizer is Optimizer.ADAM
    assert (recipe.epochs, recipe.learning_rate, recipe.batch_size) == (50, 0.01, 64)
    assert (recipe.schedule, recipe.milestones) == (Schedule.STEPS, (30,))
    assert not recipe.flip
    assert recipe.crop_padding == 0


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "svhn"])
def test_the_papers_larger_sets(dataset: str) -> None:
    recipe = paper_recipe(dataset)
    assert recipe.optimizer is Optimizer.ADAM
    assert (recipe.epochs, recipe.learning_rate, recipe.batch_size) == (150, 0.001, 128)
    assert (recipe.schedule, recipe.milestones) == (Schedule.STEPS, (80, 120))
    augmented = dataset != "svhn"
    assert recipe.flip == augmented
    assert recipe.crop_padding == (4 if augmented else 0)


@pytest.mark.parametrize("dataset", ["fashion-mnist", "cifar10", "svhn"])
def test_the_paper_names_nothing_else(dataset: str) -> None:
    recipe = paper_recipe(dataset)
    assert recipe.weight_decay == recipe.label_smoothing == 0
    assert recipe.average_decay == recipe.clip_norm == recipe.erase == recipe.distil_weight == 0


def test_the_populations_recipe() -> None:
    recipe = population_recipe(3, crop_padding=2)
    assert (recipe.epochs, recipe.crop_padding) == (3, 2)
    assert recipe.schedule is Schedule.ONE_CYCLE
    assert recipe.flip
    assert not population_recipe(3, flip=False).flip
