"""Batches of an epoch: images in a drawn order, augmented, and where each came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from archpress_trainer.data.dataset import LabelledImages
from archpress_trainer.training.augment import erase, flip, mirrored, random_crop
from archpress_trainer.training.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """Augmented uint8 images `(batch, channels, height, width)`, labels and places `(batch,)`.

    A place is the image's index in the data, plus the number of images if it was mirrored.
    """

    images: torch.Tensor
    labels: torch.Tensor
    places: torch.Tensor


def batches(data: LabelledImages, recipe: Recipe, draws: torch.Generator) -> Iterator[Batch]:
    """Yield the batches of one epoch, all of the same size; images that are left over are not seen.

    Args:
        data: on the device that `draws` is on.
        recipe: size of a batch and augmentation.
        draws: of the order and the augmentation.
    """
    count = len(data)
    size = min(recipe.batch_size, count)
    order = torch.randperm(count, generator=draws, device=data.images.device)
    for start in range(0, count - size + 1, size):
        chosen = order[start : start + size]
        images, places = data.images[chosen], chosen
        if recipe.flip:
            mirror = mirrored(size, draws)
            images, places = flip(images, mirror), chosen + count * mirror
        if recipe.crop_padding:
            images = random_crop(images, recipe.crop_padding, draws)
        if recipe.erase:
            images = erase(images, recipe.erase, draws)
        yield Batch(images, data.labels[chosen], places)
