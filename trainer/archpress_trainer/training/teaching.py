"""What a teacher says of the images of a batch: asked once for each image where images come back.

Flips alone make two images of each, so that after two epochs' worth of passes a teacher has said
all that it can; a teacher costs as much as the training of a network a third of its size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import Recipe

Lesson = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes normalised images and their places (`Batch.places`), returns logits `(batch, classes)`."""


def lesson(teacher: nn.Module, images: int, recipe: Recipe, compute: Compute) -> Lesson:
    """Return what asks a teacher, or remembers what it said.

    Args:
        teacher: maps normalised images to logits; in evaluation mode, on the device.
        images: how many there are in the data.
        recipe: whose augmentation decides whether images come back.
        compute: device and precision.
    """

    def ask(batch: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), compute.autocast():
            logits: torch.Tensor = teacher(batch).float()
        return logits

    changes = recipe.crop_padding or recipe.erase
    # On a GPU the pass is a part of the recorded step, which cannot ask for some images only.
    if changes or compute.device.type == "cuda":
        return ask
    return _Remembered(ask, 2 * images)


class _Remembered:
    """Asks for images that are new and looks up the others."""

    def __init__(self, ask: Lesson, places: int) -> None:
        self._ask = ask
        self._known = torch.zeros(places, dtype=torch.bool)
        self._logits = torch.empty(places, 0)

    def __call__(self, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        new = ~self._known[places]
        if new.any():
            asked = places[new]
            found = self._ask(images[new], asked)
            if not self._logits.shape[1]:
                self._logits = found.new_empty(len(self._known), found.shape[1])
            self._logits[asked] = found
            self._known[asked] = True
        return self._logits[places]
