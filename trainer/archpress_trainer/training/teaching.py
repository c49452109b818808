"""What a teacher says of the images of a batch: asked once for each image where images come back.

Flips alone make two images of each, so that after two epochs' worth of passes a teacher has said
all that it can; a teacher costs as much as the training of a network a third of its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import Recipe


class Lesson(Protocol):
    """What a teacher says of the images of a batch."""

    def __call__(self, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Return logits `(batch, classes)` for normalised images and their `Batch.places`."""
        ...

    def memory(self) -> Mapping[str, torch.Tensor]:
        """Return what is remembered, as tensors that may be overwritten."""
        ...


def lesson(
    teacher: nn.Module, images: int, classes: int, recipe: Recipe, compute: Compute
) -> Lesson:
    """Return what asks a teacher, or remembers what it said.

    Args:
        teacher: maps normalised images to logits; in evaluation mode, on the device.
        images: how many there are in the data.
        classes: how many logits the teacher gives.
        recipe: whose augmentation decides whether images come back.
        compute: device and precision.
    """
    changes = recipe.crop_padding or recipe.erase
    # On a GPU the pass is a part of the recorded step, which cannot ask for some images only.
    if changes or compute.device.type == "cuda":
        return _Asked(teacher, compute)
    return _Remembered(_Asked(teacher, compute), 2 * images, classes)


class _Asked:
    """Asks for all images each time."""

    def __init__(self, teacher: nn.Module, compute: Compute) -> None:
        self._teacher = teacher
        self._compute = compute

    def __call__(self, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), self._compute.autocast():
            logits: torch.Tensor = self._teacher(images).float()
        return logits

    def memory(self) -> Mapping[str, torch.Tensor]:
        return {}


class _Remembered:
    """Asks for images that are new and looks up the others."""

    def __init__(self, ask: Lesson, places: int, classes: int) -> None:
        self._ask = ask
        self._known = torch.zeros(places, dtype=torch.bool)
        self._logits = torch.zeros(places, classes)

    def __call__(self, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        new = ~self._known[places]
        if new.any():
            asked = places[new]
            self._logits[asked] = self._ask(images[new], asked)
            self._known[asked] = True
        return self._logits[places]

    def memory(self) -> Mapping[str, torch.Tensor]:
        # Asked anew in other batches, a teacher would differ in the last bits.
        return {"known": self._known, "logits": self._logits}
