"""A teacher's answers are the same whether it is asked again or remembers them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from archpress_trainer.data.dataset import LabelledImages, Normalisation, TrainingData
from archpress_trainer.space.build import build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import conv, global_average_pool, linear
from archpress_trainer.training.augment import move
from archpress_trainer.training.batches import batches
from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import Recipe
from archpress_trainer.training.teaching import Lesson, Teacher, views
from tests.trainer.nets import small_net

COUNT = 60
RECIPE = Recipe("test", 1, batch_size=20)
CPU = Compute(torch.device("cpu"), bfloat16=False)


class _Sums(nn.Module):
    """Says sums of the pixels, weighted and plain, and how many images it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.asked += len(images)
        weights = torch.arange(1.0, images[0].numel() + 1)
        pixels = images.flatten(1)
        return torch.stack([pixels @ weights, pixels.sum(dim=1)], dim=1)


def some(shape: tuple[int, int, int] = (1, 4, 4), classes: int = 2) -> TrainingData:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (COUNT, *shape), generator=generator, dtype=torch.uint8)
    labelled = LabelledImages(images, torch.zeros(COUNT, dtype=torch.int64))
    return TrainingData(labelled, labelled, Normalisation((0.5,), (0.25,)), classes)


DATA = some()


def learn(lesson: Lesson, data: TrainingData, recipe: Recipe, epochs: int, seed: int = 0) -> None:
    """Learn for some epochs, and compare with what the teacher says when it is asked again."""
    draws = torch.Generator().manual_seed(seed)
    itself = _Sums()
    for _ in range(epochs):
        for batch in batches(data.train, recipe, draws):
            side = recipe.distil_shift
            moves = [(0, 0), (side, 0), (-side, 0), (0, side), (0, -side)][: 5 if side else 1]
            seen = [move(batch.images, *by) for by in moves]
            if recipe.flip:
                seen += [images.flip(-1) for images in seen]
            said = torch.stack([itself(data.normalisation(images)) for images in seen])
            answer = lesson(data.normalisation(batch.images), batch.places)
            torch.testing.assert_close(answer, said.mean(dim=0))


@pytest.mark.parametrize(("flip", "shift", "number"), [(True, 0, 2), (False, 0, 1), (True, 1, 10)])
def test_each_view_of_an_image_is_asked_for_once(flip: bool, shift: int, number: int) -> None:
    network, recipe = _Sums(), replace(RECIPE, flip=flip, distil_shift=shift)
    learn(Teacher(network, CPU).lesson(DATA, recipe), DATA, recipe, 12)
    assert views(recipe) == number
    assert network.asked == number * COUNT


def test_all_that_learn_from_the_same_images_share_the_answers() -> None:
    network = _Sums()
    teacher = Teacher(network, CPU)
    for seed, recipe in enumerate((RECIPE, replace(RECIPE, epochs=3))):
        learn(teacher.lesson(DATA, recipe), DATA, recipe, 12, seed)
    assert network.asked == 2 * COUNT


def test_answers_are_for_the_recipe_that_asks() -> None:
    teacher = Teacher(_Sums(), CPU)
    for flip, shift in ((True, 0), (False, 0), (False, 1), (True, 1), (True, 2), (True, 0)):
        recipe = replace(RECIPE, flip=flip, distil_shift=shift)
        learn(teacher.lesson(DATA, recipe), DATA, recipe, 3)


@pytest.mark.parametrize(
    "other",
    [
        replace(DATA, train=DATA.train.subset(30)),
        replace(DATA, normalisation=Normalisation((0.1,), (0.5,))),
    ],
    ids=["images", "normalisation"],
)
def test_answers_are_for_the_images_that_were_shown(other: TrainingData) -> None:
    teacher = Teacher(_Sums(), CPU)
    learn(teacher.lesson(DATA, RECIPE), DATA, RECIPE, 3)
    learn(teacher.lesson(other, RECIPE), other, RECIPE, 3)
    learn(teacher.lesson(DATA, RECIPE), DATA, RECIPE, 3)


@pytest.mark.parametrize("recipe", [replace(RECIPE, crop_padding=1), replace(RECIPE, erase=2)])
def test_images_that_never_come_back_are_asked_for_each_time(recipe: Recipe) -> None:
    network = _Sums()
    lesson = Teacher(network, CPU).lesson(DATA, recipe)
    draws = torch.Generator().manual_seed(0)
    for _ in range(3):
        for batch in batches(DATA.train, recipe, draws):
            images = DATA.normalisation(batch.images)
            assert torch.equal(lesson(images, batch.places), _Sums()(images))
    assert network.asked == 3 * COUNT


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, crop_padding=1)])
def test_no_more_images_are_asked_for_at_once_than_memory_allows(recipe: Recipe) -> None:
    net = Architecture(
        (1, 128, 128), 2, (conv(256, 1, padding=0), global_average_pool(), linear(2))
    )
    data = some(net.input_shape, net.classes)
    network = build(net, torch.Generator().manual_seed(0)).eval()
    asked: list[int] = []
    network.register_forward_pre_hook(lambda _, images: asked.append(len(images[0])))
    lesson = Teacher(network, CPU).lesson(data, recipe)
    batch = next(iter(batches(data.train, RECIPE, torch.Generator().manual_seed(0))))
    answer = lesson(data.normalisation(batch.images), batch.places)
    assert answer.shape == (RECIPE.batch_size, net.classes)
    assert max(asked) * count(net).peak_activation_bytes <= 256_000_000


def test_answers_have_the_same_bits_whoever_asks_first() -> None:
    net = small_net()
    data = some(net.input_shape, net.classes)
    network = build(net, torch.Generator().manual_seed(0)).eval()
    answers = []
    for seed in range(2):
        lesson = Teacher(network, CPU).lesson(data, RECIPE)
        for batch in batches(data.train, RECIPE, torch.Generator().manual_seed(seed)):
            lesson(data.normalisation(batch.images), batch.places)
        places = torch.arange(2 * COUNT)
        answers.append(lesson(torch.empty(0), places).clone())
    assert torch.equal(*answers)
