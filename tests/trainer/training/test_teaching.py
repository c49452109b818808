"""A teacher's answers are the same whether it is asked again or remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from archpress_trainer.data.dataset import LabelledImages
from archpress_trainer.training.batches import batches
from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import Recipe
from archpress_trainer.training.teaching import lesson

COUNT = 60
RECIPE = Recipe("test", 1, batch_size=20)
CPU = Compute(torch.device("cpu"), bfloat16=False)


class _Teacher(nn.Module):
    """Says the weighted sum of the pixels and how many images it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.asked += len(images)
        weights = torch.arange(1.0, images[0].numel() + 1)
        return torch.stack([images.flatten(1) @ weights, images.flatten(1).sum(dim=1)], dim=1)


def ask_for_epochs(recipe: Recipe, epochs: int) -> int:
    """Compare with what the teacher says itself; return for how many images it was asked."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (COUNT, 1, 4, 4), generator=generator, dtype=torch.uint8)
    data = LabelledImages(images, torch.zeros(COUNT, dtype=torch.int64))
    teacher, itself = _Teacher(), _Teacher()
    taught = lesson(teacher, COUNT, 2, recipe, CPU)
    for _ in range(epochs):
        for batch in batches(data, recipe, generator):
            normalised = batch.images.float()
            assert torch.equal(taught(normalised, batch.places), itself(normalised))
    return teacher.asked


def test_each_image_and_its_mirror_are_asked_for_once() -> None:
    assert ask_for_epochs(RECIPE, 1) == COUNT
    assert COUNT < ask_for_epochs(RECIPE, 12) <= 2 * COUNT
    assert ask_for_epochs(replace(RECIPE, flip=False), 12) == COUNT


@pytest.mark.parametrize("recipe", [replace(RECIPE, crop_padding=1), replace(RECIPE, erase=2)])
def test_images_that_never_come_back_are_asked_for_each_time(recipe: Recipe) -> None:
    assert ask_for_epochs(recipe, 3) == 3 * COUNT
